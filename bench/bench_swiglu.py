"""swiglu: floor bytes = gate and up read, the product written."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T, F", [(1, 8192), (512, 1536), (512, 8192)])
def test_swiglu(benchmark, rng, report, T, F):
    x = rng.normal(size=(T, 2 * F)).astype(np.float32)
    out = benchmark(ops.swiglu, x)
    np.testing.assert_allclose(out, ops.swiglu(x, isa="ref"), rtol=1e-4, atol=1e-5)
    report(bytes=x.nbytes * 1.5)
