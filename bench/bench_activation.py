"""activation: floor bytes = x read and written; gelu is bound by arithmetic."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("name", ["relu", "silu", "gelu"])
@pytest.mark.parametrize("T, F", [(1, 8192), (512, 8192)])
def test_activation(benchmark, rng, report, name, T, F):
    x = rng.normal(size=(T, F)).astype(np.float32)
    op = getattr(ops, name)
    out = benchmark(op, x)
    np.testing.assert_allclose(out, op(x, isa="ref"), rtol=1e-4, atol=1e-5)
    report(bytes=x.nbytes * 2)
