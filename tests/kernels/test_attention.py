"""Attention over the paged cache: the definition, and the bits that must not change."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from genfast import _core, ops
from quantised import bfloat16, fp8

ISAS = genfast.cpu_info()["isas"]
KV = ["float32", "bfloat16", "int8", "int4", "fp8"]
EPS32 = float(np.finfo(np.float32).eps)


def int8(x):
    """A scale for each token and head: the largest magnitude becomes 127."""
    largest = np.abs(x).max(-1, keepdims=True)
    inverse = np.divide(np.float32(127), largest, where=largest > 0, out=np.zeros_like(largest))
    return np.rint(x * inverse) * (largest / np.float32(127)).astype(np.float64)


def rotated(x):
    """Every whole group of 32 along the last axis times a Hadamard matrix, in float32's order."""
    x = x.copy()
    for group in range(x.shape[-1] // 32):
        part = x[..., 32 * group : 32 * group + 32]
        for _ in range(5):
            even, odd = part[..., ::2].copy(), part[..., 1::2].copy()
            part[..., :16], part[..., 16:] = even + odd, even - odd
    return x


def padded(x):
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % 16)])


def unrotated(x):
    """The inverse of `rotated`, which squared multiplies every group by 32."""
    x, whole = rotated(x), x.shape[-1] // 32 * 32
    x[..., :whole] /= 32
    return x


def group_sums(x):
    """In float32, halves added to halves."""
    while x.shape[-1] > 1:
        x = x[..., : x.shape[-1] // 2] + x[..., x.shape[-1] // 2 :]
    return x


def int4(x):
    """A float16 scale for every 32 d: of three that put the extreme near -8, the least squares fit
    of the one that explains most.
    """
    D = x.shape[-1]
    x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, -D % 32)])
    groups = x.reshape(*x.shape[:-1], -1, 32)
    low, high = groups.min(-1, keepdims=True), groups.max(-1, keepdims=True)
    extreme = np.where(-low > high, low, high)
    best = scale = np.zeros_like(extreme)
    for divisor in np.float32([-8, -7.4, -8.8]):
        q = np.rint(np.clip(groups * (divisor / extreme), -8, 7))
        with_x = group_sums(groups * q)
        fit = with_x / group_sums(q * q)
        scale = np.where(with_x * fit > best, fit, scale)
        best = np.maximum(with_x * fit, best)
    scale = scale.astype(np.float16).astype(np.float32)
    q = np.rint(np.clip(groups * (1 / scale), -8, 7))
    return (q * scale.astype(np.float64)).reshape(x.shape)[..., :D]


def int4_keys(k):
    """Rotated when they are rounded; here turned back."""
    return unrotated(int4(rotated(padded(k))))[..., : k.shape[-1]]


ROUND = {
    "float32": (lambda x: x, lambda x: x),
    "bfloat16": (bfloat16, bfloat16),
    "int8": (int8, int8),
    "int4": (int4_keys, int4),
    "fp8": (fp8, fp8),
}


def definition(
    q,
    k,
    v,
    past=0,
    scale=None,
    window=0,
    sinks=0,
    cap=0.0,
    slopes=None,
    sink_logits=None,
    kv_dtype="float32",
):
    """Softmax in float64 of the keys each row may see: (out, bound on the error in float32).

    bfloat16 rounds queries and weights to it; int8, int4: (times value scales) to 16-bit integers.
    """
    fixed = kv_dtype in ("int8", "int4")
    k, v = (rounded(x) for rounded, x in zip(ROUND[kv_dtype], (k, v), strict=True))
    if kv_dtype == "bfloat16":
        q = bfloat16(q)
    q, k, v = (x.astype(np.float64) for x in (q, k, v))
    T, H, D = q.shape
    group = H // k.shape[1]
    scale = D**-0.5 if scale is None else scale
    # What is multiplied: int4's queries and keys meet rotated.
    qs, ks = (unrotated(padded(q)), rotated(padded(k))) if kv_dtype == "int4" else (q, k)
    out, bound = np.empty(q.shape), np.empty(q.shape)
    for t in range(T):
        end = past + t + 1
        seen = np.arange(end)
        seen = seen[(seen >= end - window) | (seen < sinks)] if window else seen
        for h in range(H):
            keys, values = k[seen, h // group], v[seen, h // group]
            scores = keys @ q[t, h] * scale
            if cap:  # whose slope is at most 1
                scores = cap * np.tanh(scores / cap)
            if slopes is not None:
                scores = scores - float(slopes[h]) * (end - 1 - seen)
            sink = -np.inf if sink_logits is None else float(sink_logits[h])
            largest = max(scores.max(), sink)
            weights = np.exp(scores - largest)
            weights /= weights.sum() + np.exp(sink - largest)
            out[t, h] = weights @ values
            # A score is a chain of D fma: off by D eps/2 of its sum of magnitudes, and so,
            # relatively, is its weight (twice: the maximum's score is off too). exp2 and the sums
            # add a few eps, each chain of up to 512 weights and the merges the rest.
            factors, sizes = np.abs(qs[t, h]), np.abs(ks[seen, h // group])
            magnitude = (sizes @ factors).max() * scale
            chain = min(len(weights), 512) / 2 + len(weights) / 512 + 8
            relative = EPS32 * ((D + 4) * magnitude + 2 * chain)
            # Off by roundings of their own: of tanh's a dozen, of the difference one.
            relative += 2 * EPS32 * (12 * cap + (0 if slopes is None else np.abs(scores).max()))
            if sink_logits is not None:  # times log2 e, the difference, 2^x and one more sum
                relative += EPS32 * (2 * abs(sink) + 8)
            if fixed:
                # Half a unit of the largest |q| in every q; a score moves by that times sum |k|.
                unit = factors.max() / 32512
                relative += unit * sizes.sum(-1).max() * scale
            if kv_dtype == "bfloat16":
                relative += 2.0**-8  # half a step of 8 significant bits, in each weight
            if kv_dtype != "float32":
                relative += 2 * 3e-6  # a shorter polynomial for 2^x: in each weight, in their sum
            bound[t, h] = relative * (weights @ np.abs(values)) + 1e-30
            if fixed:
                # Half a unit of the largest weight times scale, in every product: |byte| <= 127
                # where the largest value has 127, |nibble| <= 8 where it has at least 7.
                largest = (weights * np.abs(values).max(-1)).max()
                bound[t, h] += len(weights) * 0.5 * 8 / 7 * largest / 32512
    return out, bound


def random_qkv(rng, T, H, Hkv, D, past=0):
    q = rng.normal(size=(T, H, D)).astype(np.float32) * 2
    k, v = (rng.normal(size=(past + T, Hkv, D)).astype(np.float32) for _ in range(2))
    return q, k, v


def run(q, k, v, past=0, **options):
    return ops.attention(q, k[past:], v[past:], past_k=k[:past], past_v=v[:past], **options)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize(
    "T, H, Hkv, D, past",
    [
        (1, 1, 1, 1, 0),
        (5, 2, 1, 3, 7),
        (1, 9, 3, 64, 600),
        (33, 8, 8, 8, 0),
        (3, 8, 2, 80, 1030),
        (40, 4, 1, 96, 500),
        (2, 7, 1, 128, 511),
        (13, 2, 2, 256, 20),
        (130, 6, 2, 16, 450),
        (1, 71, 1, 64, 1100),
    ],
)
def test_matches_definition(rng, isa, kv_dtype, T, H, Hkv, D, past):
    q, k, v = random_qkv(rng, T, H, Hkv, D, past)
    expected, bound = definition(q, k, v, past, kv_dtype=kv_dtype)
    got = run(q, k, v, past, kv_dtype=kv_dtype, isa=isa)
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window", [1, 2, 31, 100, 512, 700])
@pytest.mark.parametrize("T, past", [(1, 1300), (70, 480), (37, 0)])
@pytest.mark.parametrize("sinks", [0, 1, 4, 32])
def test_window(rng, isa, window, sinks, T, past):
    """With sinks, the first tokens stay in sight: the window may overlap or touch them."""
    q, k, v = random_qkv(rng, T, 4, 2, 16, past)
    expected, bound = definition(q, k, v, past, window=window, sinks=sinks)
    got = run(q, k, v, past, window=window, sinks=sinks, isa=isa)
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
def test_sinks_of_every_cache(rng, isa, kv_dtype):
    q, k, v = random_qkv(rng, 20, 6, 2, 72, 600)
    options = {"window": 50, "sinks": 5, "kv_dtype": kv_dtype}
    expected, bound = definition(q, k, v, 600, **options)
    assert (np.abs(run(q, k, v, 600, isa=isa, **options) - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("cap", [0.0, 1.5])
@pytest.mark.parametrize("sloped", [False, True])
@pytest.mark.parametrize("options", [{}, {"window": 50, "sinks": 5}])
def test_scores_that_are_capped_or_sloped(rng, isa, kv_dtype, cap, sloped, options):
    q, k, v = random_qkv(rng, 20, 6, 2, 40, 600)
    slopes = (2.0 ** rng.uniform(-8, -1, 6)).astype(np.float32) if sloped else None
    options = {"kv_dtype": kv_dtype, "cap": cap, "slopes": slopes, **options}
    expected, bound = definition(q, k, v, 600, **options)
    got = run(q, k, v, 600, isa=isa, **options)
    assert (np.abs(got - expected) <= bound).all()
    for chunk, threads in ((1, 1), (7, 2), (0, 3)):
        again = run(q, k, v, 600, isa=isa, chunk=chunk, threads=threads, **options)
        assert again.tobytes() == got.tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_scale_and_large_scores(rng, isa):
    q, k, v = random_qkv(rng, 20, 2, 2, 32)
    q *= 30  # scores of hundreds: most weights underflow to nothing
    for scale in (0.5, 1.0):
        expected, bound = definition(q, k, v, scale=scale)
        assert (np.abs(run(q, k, v, scale=scale, isa=isa) - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("window, sinks", [(0, 0), (90, 0), (90, 4)])
def test_chunks_threads_and_pages_do_not_change_bits(rng, isa, kv_dtype, window, sinks):
    T, past = (130, 470) if isa != "ref" else (40, 490)
    q, k, v = random_qkv(rng, T, 6, 2, 40, past)
    options = {"kv_dtype": kv_dtype, "window": window, "sinks": sinks, "isa": isa}
    whole = run(q, k, v, past, threads=1, **options).tobytes()
    for chunk in (1, 7, 64):
        assert run(q, k, v, past, chunk=chunk, **options).tobytes() == whole, f"chunk={chunk}"
    for threads in (2, 3):
        assert run(q, k, v, past, threads=threads, **options).tobytes() == whole
    needed = (past + T + 31) // 32
    scattered = rng.permutation(3 * needed)[:needed]
    assert run(q, k, v, past, pages=scattered, chunk=50, **options).tobytes() == whole


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
def test_batch_mates_do_not_change_bits(rng, isa, kv_dtype):
    """Seven sequences in one step, prefill and decode mixed, against each alone."""
    H, Hkv, D = 4, 2, 24
    shapes = [(1, 0), (1, 700), (30, 3), (1, 511), (64, 512), (9, 1025), (1, 31)]  # rows, past
    sequences = [random_qkv(rng, T, H, Hkv, D, past) for T, past in shapes]
    counts = [(T + past + 31) // 32 for T, past in shapes]
    free = iter(rng.permutation(sum(counts) + 5).tolist())
    cache = _core.ops.KvCache(kv_dtype, Hkv, D, sum(counts) + 5)
    rows, spans = [], []
    for (T, past), (q, k, v), count in zip(shapes, sequences, counts, strict=True):
        pages = [next(free) for _ in range(count)]
        cache.append(k[:past], v[:past], pages)
        spans.append((sum(len(x) for x in rows), T, past, pages))
        rows.append(np.concatenate([x.reshape(T, -1) for x in (q, k[past:], v[past:])], axis=1))
    for threads in (1, 2, 3):
        together = cache.attention(np.concatenate(rows), spans, isa=isa, threads=threads)
        for (row, T, past, _), (q, k, v) in zip(spans, sequences, strict=True):
            alone = run(q, k, v, past, kv_dtype=kv_dtype, isa=isa)
            assert together[row : row + T].tobytes() == alone.tobytes()


@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("H, Hkv, D", [(4, 1, 64), (3, 3, 17), (24, 2, 128)])
def test_avx2_and_avx512_give_the_same_bits(rng, kv_dtype, H, Hkv, D):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    q, k, v = random_qkv(rng, 45, H, Hkv, D, 520)
    a, b = (run(q, k, v, 520, kv_dtype=kv_dtype, isa=isa) for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
def test_masked_tokens_are_never_read(rng, isa, kv_dtype):
    """Infinities in the future, before the window and in recycled pages leave a row as it was."""
    T, past, window = 50, 40, 20
    q, k, v = random_qkv(rng, T, 4, 2, 12, past)
    clean = run(q, k, v, past, kv_dtype=kv_dtype, window=window, isa=isa)

    cache = _core.ops.KvCache(kv_dtype, 2, 12, 3)
    ruin = np.full((96, 2, 12), np.inf, np.float32)
    cache.append(ruin, -ruin, [0, 1, 2])  # what an earlier sequence left behind
    cache.append(k[:past], v[:past], [0, 1, 2])
    qkv = np.concatenate([x.reshape(T, -1) for x in (q, k[past:], v[past:])], axis=1)
    got = cache.attention(qkv, [(0, T, past, [0, 1, 2])], window=window, isa=isa)
    assert got.tobytes() == clean.tobytes()

    bad_k, bad_v = k.copy(), v.copy()
    bad_k[past + 30], bad_v[past + 30] = np.nan, np.inf
    got = run(q, bad_k, bad_v, past, kv_dtype=kv_dtype, window=window, isa=isa)
    assert got[:30].tobytes() == clean[:30].tobytes()
    assert np.isnan(got[30:50]).all()
    assert got[50:].tobytes() == clean[50:].tobytes()


# Of sequences that share what is before their own tokens: their lengths, and how many pages each
# shares with the one before. Beams, questions about one text, and strangers between.
SHARED = {
    "beams": ([2100] * 4, [0, 65, 65, 64]),
    "cut inside a block": ([1030] * 3, [0, 32, 20]),
    "a tree": ([1600, 1590, 1700, 1800, 1541], [0, 48, 16, 48, 32]),
    "strangers": ([700, 600, 1100, 1200], [0, 0, 16, 0]),
    "many": ([600 + i for i in range(40)], [0] + [17] * 39),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("H, HKV", [(4, 2), (9, 3), (5, 1), (16, 4)])
@pytest.mark.parametrize("case", SHARED)
def test_shared_pages_give_the_bits_of_pages_of_ones_own(rng, isa, kv_dtype, H, HKV, case):
    D, (starts, shares) = 32, SHARED[case]
    apart = _core.ops.KvCache(kv_dtype, HKV, D, sum(start // 32 + 17 for start in starts))
    shared = _core.ops.KvCache(kv_dtype, HKV, D, sum(start // 32 + 17 for start in starts))
    own, used, keys, values, page = [], [], [], [], 0
    for i, (start, share) in enumerate(zip(starts, shares, strict=True)):
        _, k, v = random_qkv(rng, start, H, HKV, D)
        if i:
            k[: 32 * share], v[: 32 * share] = keys[-1][: 32 * share], values[-1][: 32 * share]
        keys.append(k)
        values.append(v)
        own.append(list(range(page, page + start // 32 + 1)))
        used.append((used[-1][:share] if i else []) + own[-1][share:])
        page = own[-1][-1] + 1
        apart.append(k, v, own[-1])
        shared.append(k, v, used[-1])
    q, k, v = random_qkv(rng, len(starts), H, HKV, D)
    qkv = np.concatenate([x.reshape(len(starts), -1) for x in (q, k, v)], axis=1)

    def spans(pages):
        return [(i, 1, start, pages[i]) for i, start in enumerate(starts)]

    for sink_logits in (None, rng.normal(size=H).astype(np.float32)):
        options = {"sink_logits": sink_logits, "isa": isa}
        expected = apart.attention(qkv, spans(own), threads=1, **options)
        for threads in (1, 2, 7):
            got = shared.attention(qkv, spans(used), threads=threads, **options)
            assert got.tobytes() == expected.tobytes()
        alone = shared.attention(qkv[1:2], [(0, 1, starts[1], used[1])], **options)
        assert alone.tobytes() == expected[1:2].tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_one_key_returns_its_value(rng, isa):
    q, k, v = random_qkv(rng, 1, 3, 1, 20)
    # The weight is divided by itself: two roundings.
    got, expected = run(q, k, v, isa=isa), np.repeat(v, 3, axis=1)
    assert (np.abs(got - expected) <= 2 * EPS32 * np.abs(expected)).all()


def test_wrong_arguments_are_refused(rng):
    q, k, v = random_qkv(rng, 4, 4, 2, 8)
    with pytest.raises(ValueError, match="k and v must both have shape"):
        ops.attention(q, k[:, :, :7], v)
    with pytest.raises(ValueError, match="q must have shape"):
        ops.attention(q[0], k, v)
    with pytest.raises(ValueError, match="kv_dtype='float16' must be"):
        ops.attention(q, k, v, kv_dtype="float16")
    with pytest.raises(ValueError, match="past_k and past_v"):
        ops.attention(q, k, v, past_k=k)
    with pytest.raises(ValueError, match="scale=0"):
        ops.attention(q, k, v, scale=0.0)
    with pytest.raises(ValueError, match="window=-1"):
        ops.attention(q, k, v, window=-1)
    with pytest.raises(ValueError, match="sinks=33 must be 0 to 32"):
        ops.attention(q, k, v, window=8, sinks=33)
    with pytest.raises(ValueError, match="sinks=2 without a window"):
        ops.attention(q, k, v, sinks=2)
    with pytest.raises(ValueError, match="chunk=-1"):
        ops.attention(q, k, v, chunk=-1)
    with pytest.raises(ValueError, match="must list at least one page"):
        ops.attention(q, k, v, pages=[])
    with pytest.raises(ValueError, match="pages must list at least 2 pages"):
        ops.attention(q, k, v, past_k=np.ones((30, 2, 8)), past_v=np.ones((30, 2, 8)), pages=[0])
    cache = _core.ops.KvCache("float32", 2, 8, 1)
    with pytest.raises(ValueError, match=r"pages must be in \[0, 1\)"):
        cache.append(k, v, [1])
    with pytest.raises(ValueError, match="spans must cover"):
        cache.attention(np.zeros((3, 64), np.float32), [(0, 2, 0, [0])])
    with pytest.raises(ValueError, match="head_dim=257"):
        _core.ops.KvCache("float32", 2, 257, 1)
