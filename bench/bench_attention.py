"""attention: decode's floor is reading the keys and values once, prefill's 2 T^2 D H operations
(4 T S D H, halved by the causal mask) at bfloat16's peak. With a window, only what it shows counts.
Decode goes round some sequences (and with a window, round the windows of each), so that what it
reads comes from memory: 16k tokens seen through 1024 take as long as 1024 of 1024."""

import statistics
import time
from itertools import cycle

import numpy as np
import pytest

from genfast import _core

SHAPES = [(9, 3, 64), (32, 8, 64), (32, 8, 128)]  # query heads, KV heads, D
BEYOND_CACHES = 128 << 20


def heads(rng, T, count, D):
    return rng.normal(size=(T, count, D)).astype(np.float32)


def side_by_side(*parts):
    return np.concatenate([x.reshape(len(x), -1) for x in parts], axis=1)


FORMATS = [("bfloat16", 2), ("int8", 1), ("fp8", 1), ("int4", 0.5)]


@pytest.mark.parametrize("kv_dtype, itemsize", FORMATS)
@pytest.mark.parametrize("S, window", [(1024, 0), (4096, 0), (16384, 0), (16384, 1024)])
@pytest.mark.parametrize("H, HKV, D", SHAPES)
def test_decode(benchmark, rng, report, H, HKV, D, S, window, kv_dtype, itemsize):
    k, v, q = heads(rng, S, HKV, D), heads(rng, S, HKV, D), heads(rng, 1, H, D)
    new_k, new_v = heads(rng, 1, HKV, D), heads(rng, 1, HKV, D)
    count = S // 512 * 16 + 16  # pages of a sequence, in whole runs of sixteen
    sequences = 1 + int(BEYOND_CACHES / (2 * S * HKV * D * itemsize))
    cache = _core.ops.KvCache(kv_dtype, HKV, D, count * sequences)
    pages = [list(range(i * count, i * count + S // 32 + 1)) for i in range(sequences)]
    for each in pages:
        cache.append(k, v, each)
    qkv = side_by_side(q, new_k, new_v)
    ends = range(S, window, -window) if window else [S]
    turn = cycle([(0, 1, end, each) for end in ends for each in pages])
    benchmark(lambda: cache.attention(qkv, [next(turn)], window=window))
    out = cache.attention(qkv, [(0, 1, S, pages[0])], window=window)
    # Head 0 by the definition; the cache rounds keys and values to 8 bits, or to 4.
    keys = np.concatenate([k, new_k])[-window:, 0].astype(np.float64)
    values = np.concatenate([v, new_v])[-window:, 0].astype(np.float64)
    scores = keys @ q[0, 0].astype(np.float64) / np.sqrt(D)
    weights = np.exp(scores - scores.max())
    expected = weights @ values / weights.sum()
    np.testing.assert_allclose(
        np.asarray(out).reshape(H, D)[0], expected, atol=0.05 if itemsize >= 1 else 0.3
    )
    report(bytes=int(2 * (window or S) * HKV * D * itemsize))


@pytest.mark.parametrize("kv_dtype, itemsize", FORMATS)
@pytest.mark.parametrize("H, HKV, D", SHAPES)
def test_beams_over_a_shared_prefix(benchmark, rng, H, HKV, D, kv_dtype, itemsize, S=4096, beams=4):
    """Four sequences that share 4k tokens, beside one alone and four with pages of their own."""
    k, v = heads(rng, S, HKV, D), heads(rng, S, HKV, D)
    qkv = side_by_side(heads(rng, beams, H + 2 * HKV, D))
    count = S // 32 + 16
    sets = 1 + int(BEYOND_CACHES / (2 * S * HKV * D * itemsize))
    if kv_dtype == "int4":
        sets = min(sets, 6)  # appending takes ten times as long as to int8
    cache = _core.ops.KvCache(kv_dtype, HKV, D, count * sets * beams)
    pages = [list(range(i * count, i * count + S // 32 + beams)) for i in range(sets * beams)]
    for each in pages:
        cache.append(k, v, each)
    turn = cycle(range(sets))

    def spans(kind):
        first = beams * next(turn)
        if kind == "apart":
            return [(i, 1, S, pages[first + i]) for i in range(beams)]
        prefix, own = pages[first][: S // 32], pages[first][S // 32 :]
        return [(i, 1, S, [*prefix, own[i]]) for i in range(1 if kind == "one" else beams)]

    def one_round():
        for kind, times in seconds.items():
            step = spans(kind)
            begin = time.perf_counter()
            cache.attention(qkv[: len(step)], step)
            times.append(time.perf_counter() - begin)

    seconds = {"one": [], "shared": [], "apart": []}
    benchmark(one_round)
    shared = cache.attention(qkv, spans("shared"))
    assert shared.tobytes() == cache.attention(qkv, spans("apart")).tobytes()
    one, *others = (statistics.median(times) for times in seconds.values())
    benchmark.extra_info |= {
        f"{kind} ÷ one": round(t / one, 2)
        for kind, t in zip(("shared", "apart"), others, strict=True)
    }


@pytest.mark.parametrize(
    "T, window, kv_dtype",
    [
        (512, 0, "bfloat16"),
        (2048, 0, "bfloat16"),
        (4096, 0, "bfloat16"),
        (4096, 1024, "bfloat16"),
        (2048, 0, "int8"),
        (2048, 0, "int4"),
    ],
)
@pytest.mark.parametrize("H, HKV, D", SHAPES)
def test_prefill(benchmark, rng, report, H, HKV, D, T, window, kv_dtype):
    q, k, v = heads(rng, T, H, D), heads(rng, T, HKV, D), heads(rng, T, HKV, D)
    cache = _core.ops.KvCache(kv_dtype, HKV, D, T // 32)
    span = (0, T, 0, list(range(T // 32)))
    out = benchmark(cache.attention, side_by_side(q, k, v), [span], window=window)
    # The first token sees itself alone: its output is its value, rounded to 7 bits (int4: 3).
    alone = np.repeat(v[0], H // HKV, axis=0)
    np.testing.assert_allclose(
        out[0].reshape(H, D), alone, atol=np.abs(v[0]).max() / (7 if kv_dtype == "int4" else 127)
    )
    seen = np.minimum(np.arange(1, T + 1), window or T).sum()
    report(flops=4 * int(seen) * D * H, peak="dot_bf16")
