"""causal_conv1d: floor bytes = x read, the result written."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T, C", [(1, 5120), (512, 1536), (512, 5120)])
def test_causal_conv1d(benchmark, rng, report, T, C):
    """Mamba 130M and 2.8B."""
    x, weight = (rng.normal(size=(n, C)).astype(np.float32) for n in (T, 4))
    out, _ = benchmark(ops.causal_conv1d, x, weight, activation="silu")
    expected, _ = ops.causal_conv1d(x, weight, activation="silu", isa="ref")
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
    report(bytes=x.nbytes * 2, flops=8 * x.size)
