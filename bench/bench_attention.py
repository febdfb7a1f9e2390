"""attention: decode's floor is reading the keys and values once, prefill's 2 T^2 D H operations
(4 T S D H, halved by the causal mask) at the peak of fused multiply-adds."""

import numpy as np
import pytest

from genfast import _core, ops

H, HKV = 32, 8


def heads(rng, T, count, D):
    return rng.normal(size=(T, count, D)).astype(np.float32)


@pytest.mark.parametrize("kv_dtype, itemsize", [("bfloat16", 2), ("int8", 1)])
@pytest.mark.parametrize("S", [1024, 4096, 16384])
@pytest.mark.parametrize("D", [64, 128])
def test_decode(benchmark, rng, report, D, S, kv_dtype, itemsize):
    k, v, q = heads(rng, S, HKV, D), heads(rng, S, HKV, D), heads(rng, 1, H, D)
    new_k, new_v = heads(rng, 1, HKV, D), heads(rng, 1, HKV, D)
    pages = list(range(S // 32 + 1))
    cache = _core.ops.KvCache(kv_dtype, HKV, D, len(pages))
    cache.append(k, v, pages)
    qkv = np.concatenate([x.reshape(1, -1) for x in (q, new_k, new_v)], axis=1)
    out = benchmark(cache.attention, qkv, [(0, 1, S, pages)])
    # Head 0 by the definition; the cache rounds keys and values to 8 bits at worst.
    keys = np.concatenate([k, new_k])[:, 0].astype(np.float64)
    values = np.concatenate([v, new_v])[:, 0].astype(np.float64)
    scores = keys @ q[0, 0].astype(np.float64) / np.sqrt(D)
    weights = np.exp(scores - scores.max())
    expected = weights @ values / weights.sum()
    np.testing.assert_allclose(np.asarray(out).reshape(H, D)[0], expected, atol=0.05)
    report(bytes=2 * S * HKV * D * itemsize)


@pytest.mark.parametrize("T", [512, 2048])
@pytest.mark.parametrize("D", [64, 128])
def test_prefill(benchmark, rng, report, D, T):
    q, k, v = heads(rng, T, H, D), heads(rng, T, HKV, D), heads(rng, T, HKV, D)
    out = benchmark(ops.attention, q, k, v, kv_dtype="bfloat16")
    # The first token sees itself alone: its output is its value, rounded to bfloat16.
    np.testing.assert_allclose(out[0], np.repeat(v[0], H // HKV, axis=0), rtol=2**-8, atol=1e-6)
    report(flops=2 * T * T * D * H)
