"""selective_scan: floor bytes = the states read and written; flops: two fma and a product for each
number of a state, and Mamba's exponential, which is 13 more."""

import numpy as np
import pytest

from genfast import ops

# heads, head dimension, N, groups: of Mamba 130M and 2.8B, Mamba 2 2.7B
SHAPES = {"130M": (1, 1536, 16, 1), "2.8B": (1, 5120, 16, 1), "2-2.7B": (80, 64, 128, 1)}


@pytest.mark.parametrize("T", [1, 64])
@pytest.mark.parametrize("model", SHAPES)
def test_selective_scan(benchmark, rng, report, model, T):
    H, P, N, G = SHAPES[model]
    by_channel = H == 1
    rates = H * P if by_channel else H
    x, z = rng.normal(size=(2, T, H, P)).astype(np.float32)
    dt = rng.normal(size=(T, rates)).astype(np.float32)
    A = -np.exp(rng.normal(size=(N, rates) if by_channel else rates)).astype(np.float32)
    B, C = rng.normal(size=(2, T, G, N)).astype(np.float32)
    given = (x, dt, A, B, C, np.ones(H * P, np.float32), None, z)
    _, state = ops.selective_scan(*given)
    out, _ = benchmark(ops.selective_scan, *given, state)
    expected, _ = ops.selective_scan(*given, state, isa="ref")
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    size = state.size * T
    report(bytes=2 * state.nbytes, flops=size * (5 + (26 if by_channel else 0)))
