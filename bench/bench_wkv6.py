"""wkv6: floor bytes = the states read and written; flops: two fma and a product for each number of
a state."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T", [1, 64])
@pytest.mark.parametrize("heads", [32, 40, 64])  # of RWKV 6 1.6B, 3B and 7B, each of 64
def test_wkv6(benchmark, rng, report, heads, T):
    columns = list(rng.normal(size=(5, T, heads, 64)).astype(np.float32))
    vectors = list(rng.normal(size=(3, heads * 64)).astype(np.float32))
    _, state = ops.wkv6(*columns, *vectors, 64e-5)
    out, _ = benchmark(ops.wkv6, *columns, *vectors, 64e-5, state)
    expected, _ = ops.wkv6(*columns, *vectors, 64e-5, state, isa="ref")
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    report(bytes=2 * state.nbytes, flops=5 * state.size * T)
