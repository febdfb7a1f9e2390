"""latent_attention at DeepSeek's sizes, R 512 and P 64: all heads read the one row a token, so that
computing takes longer than reading. Floor: rows read once, 2 H (2 R + P) operations a token seen,
at float32's peak. Decode goes round some sequences, whose rows come from memory."""

from itertools import cycle

import numpy as np
import pytest

from genfast import _core

R, P = 512, 64
HEADS = [16, 128]  # V2-Lite, V3
BEYOND_CACHES = 128 << 20


def numbers(rng, *shape):
    return rng.standard_normal(shape, np.float32)


@pytest.mark.parametrize("kv_dtype, itemsize", [("float32", 4), ("bfloat16", 2), ("int8", 1)])
@pytest.mark.parametrize("S", [1024, 16384])
@pytest.mark.parametrize("H", HEADS)
def test_decode(benchmark, rng, report, H, S, kv_dtype, itemsize):
    count = S // 512 * 16 + 16  # pages of a sequence, in whole runs of sixteen
    sequences = 1 + int(BEYOND_CACHES / (S * (R + P) * itemsize))
    cache = _core.ops.KvCache.latent(kv_dtype, R, P, count * sequences)
    pages = [list(range(i * count, i * count + S // 32 + 1)) for i in range(sequences)]
    past, new = numbers(rng, S, P + R), numbers(rng, 1, P + R)
    for each in pages:
        cache.append_rows(past, each)
    q, turned = numbers(rng, 1, H * R), numbers(rng, 1, H * P)
    scale = (R + P) ** -0.5
    turn = cycle(pages)
    benchmark(lambda: cache.latent_attention(q, turned, new, [(0, 1, S, next(turn))], scale))
    out = cache.latent_attention(q, turned, new, [(0, 1, S, pages[0])], scale)
    # Head 0 by the definition; the cache rounds rows to 8 bits.
    rows = np.concatenate([past, new]).astype(np.float64)
    scores = (rows @ np.concatenate([turned[0, :P], q[0, :R]])) * scale
    weights = np.exp(scores - scores.max())
    expected = weights @ rows[:, P:] / weights.sum()
    np.testing.assert_allclose(out[0, :R], expected, atol=0.05)
    report(bytes=S * (R + P) * itemsize, flops=2 * H * (2 * R + P) * S, peak="fma_f32")


@pytest.mark.parametrize("H", HEADS)
def test_prefill(benchmark, rng, report, H, T=512):
    cache = _core.ops.KvCache.latent("bfloat16", R, P, T // 32)
    q, turned, rows = numbers(rng, T, H * R), numbers(rng, T, H * P), numbers(rng, T, P + R)
    span = (0, T, 0, list(range(T // 32)))
    out = benchmark(cache.latent_attention, q, turned, rows, [span], (R + P) ** -0.5)
    # The first token sees itself alone: its output is its row, rounded to 8 bits.
    alone = np.tile(rows[0, P:], H)
    np.testing.assert_allclose(out[0], alone, atol=np.abs(rows[0]).max() / 256)
    report(flops=2 * H * (2 * R + P) * (T * (T + 1) // 2), peak="fma_f32")
