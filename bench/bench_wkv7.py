"""wkv7: floor bytes = the states read and written; flops: four fma and a product for each number of
a state."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T", [1, 64])
@pytest.mark.parametrize("heads", [12, 32, 40])  # of RWKV 7 0.1B, 1.5B and 2.9B, each of 64
def test_wkv7(benchmark, rng, report, heads, T):
    columns = list(rng.normal(size=(8, T, heads, 64)).astype(np.float32))
    vectors = list(rng.normal(size=(5, heads * 64)).astype(np.float32))
    given = (*columns[:6], *vectors, 64e-5, *columns[6:])
    _, state = ops.wkv7(*given)
    out, _ = benchmark(ops.wkv7, *given, state)
    expected, _ = ops.wkv7(*given, state, isa="ref")
    np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-3)
    report(bytes=2 * state.nbytes, flops=9 * state.size * T)
