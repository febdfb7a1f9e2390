"""wkv4: floor bytes = keys and values read, results written, the state read and written; flops: of
a token's two exponentials 15 each, and 20 besides."""

import numpy as np
import pytest

from genfast import ops

CHANNELS = {"169M": 768, "14B": 5120}


@pytest.mark.parametrize("T", [1, 64])
@pytest.mark.parametrize("model", CHANNELS)
def test_wkv4(benchmark, rng, report, model, T):
    C = CHANNELS[model]
    k, v = rng.normal(size=(2, T, C)).astype(np.float32)
    w, u = -np.exp(rng.normal(size=C)).astype(np.float32), rng.normal(size=C).astype(np.float32)
    _, state = ops.wkv4(k, v, w, u)
    out, _ = benchmark(ops.wkv4, k, v, w, u, state)
    expected, _ = ops.wkv4(k, v, w, u, state, isa="ref")
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    report(bytes=3 * k.nbytes + 2 * state.nbytes, flops=T * C * 50)
