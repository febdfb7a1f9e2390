"""layer_norm: floor bytes = x read and written."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T, E", [(1, 2048), (512, 768), (512, 2048)])
def test_layer_norm(benchmark, rng, report, T, E):
    x = rng.normal(size=(T, E)).astype(np.float32)
    weight, bias = rng.normal(size=(2, E)).astype(np.float32)
    out = benchmark(ops.layer_norm, x, weight, bias)
    np.testing.assert_allclose(
        out, ops.layer_norm(x, weight, bias, isa="ref"), rtol=1e-4, atol=1e-4
    )
    report(bytes=x.nbytes * 2)
