"""Latent attention over its paged cache: the definition, and the bits that must not change."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from genfast import _core, ops
from quantised import bfloat16, fp8

ISAS = genfast.cpu_info()["isas"]
KV = ["float32", "bfloat16", "int8", "fp8"]
EPS32 = float(np.finfo(np.float32).eps)


def int8(x):
    """A scale for each token: the largest magnitude becomes 127."""
    largest = np.abs(x).max(-1, keepdims=True)
    return np.rint(x * (np.float32(127) / largest)) * (largest / np.float32(127)).astype(np.float64)


def cached(rows, P, kv_dtype):
    rounded = {"float32": lambda x: x, "bfloat16": bfloat16, "int8": int8, "fp8": fp8}[kv_dtype]
    return (rounded(part).astype(np.float64) for part in (rows[:, :P], rows[:, P:]))


def definition(q, turned, rows, past, scale, window=0, sinks=0, kv_dtype="float32"):
    """Softmax in float64 of the rows each token may see: (out, bound on the error in float32)."""
    k, c = cached(np.concatenate([past, rows]), turned.shape[2], kv_dtype)
    q, turned = q.astype(np.float64), turned.astype(np.float64)
    out, bound = np.empty(q.shape), np.empty(q.shape)
    for t in range(len(q)):
        end = len(past) + t + 1
        seen = np.arange(end)
        seen = seen[(seen >= end - window) | (seen < sinks)] if window else seen
        for h in range(q.shape[1]):
            scores = (c[seen] @ q[t, h] + k[seen] @ turned[t, h]) * scale
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            out[t, h] = weights @ c[seen]
            # A score is a chain of R + P fma, off by half an eps of its magnitudes each, and so,
            # relatively, is its weight (twice: the maximum's score is off too); rounded rows are
            # exact floats or one rounding off. exp2, the page's sums and factors and the merges of
            # blocks add a few eps a page.
            size = np.abs(c[seen]) @ np.abs(q[t, h]) + np.abs(k[seen]) @ np.abs(turned[t, h])
            chain = len(weights) + 8 * (end // 32 + 2)
            relative = EPS32 * ((q.shape[2] + turned.shape[2] + 8) * size.max() * scale + 2 * chain)
            bound[t, h] = relative * (weights @ np.abs(c[seen])) + 1e-30
    return out, bound


def operands(rng, T, past, H=5, R=48, P=8):
    q = rng.normal(size=(T, H, R)).astype(np.float32)
    turned = rng.normal(size=(T, H, P)).astype(np.float32)
    rows = rng.normal(size=(past + T, P + R)).astype(np.float32)
    rows[:, :P] *= 5  # k is not normed, c is
    return q, turned, rows[past:], rows[:past]


def check(x, isa, **options):
    q, turned, rows, past = x
    scale = 0.5 * (q.shape[2] + turned.shape[2]) ** -0.5
    expected, bound = definition(*x, scale, **options)
    got = ops.latent_attention(q, turned, rows, scale, past=past, isa=isa, **options)
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("H, R, P", [(1, 16, 2), (5, 48, 8), (16, 64, 16), (37, 21, 6)])
def test_matches_definition(rng, isa, kv_dtype, H, R, P):
    for T, past in ((1, 0), (3, 31), (40, 0), (2, 600)):
        check(operands(rng, T, past, H, R, P), isa, kv_dtype=kv_dtype)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("window, sinks", [(1, 0), (7, 4), (33, 32), (600, 5), (2000, 3)])
def test_window_and_sinks(rng, isa, window, sinks):
    check(operands(rng, 35, 0), isa, window=window, sinks=sinks)
    check(operands(rng, 3, 1100), isa, window=window, sinks=sinks)


@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("isa", ISAS)
def test_published_sizes(rng, isa, kv_dtype):
    """DeepSeek-V2-Lite's: 16 heads, R 512, P 64."""
    check(operands(rng, 2, 70, 16, 512, 64), isa, kv_dtype=kv_dtype)


@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("H, window, sinks", [(5, 0, 0), (40, 0, 0), (5, 513, 6)])
def test_same_bits(rng, isa, kv_dtype, H, window, sinks):
    """For any threads, chunks, pages: alone as beside other tokens, whole as cut by block."""
    q, turned, rows, past = operands(rng, 70, 1000, H)
    options = {"kv_dtype": kv_dtype, "window": window, "sinks": sinks, "isa": isa}
    run = lambda **more: ops.latent_attention(q, turned, rows, 0.1, past=past, **options, **more)  # noqa: E731
    pages = np.random.default_rng(5).permutation(40)
    whole = run(threads=1).tobytes()
    for more in ({"threads": 2}, {"threads": 3, "chunk": 1}, {"chunk": 33}, {"pages": pages}):
        assert run(**more).tobytes() == whole, more


def test_several_sequences_in_one_step(rng):
    pages = [list(range(3)), list(range(5, 9)), [4, 3]]
    cache = _core.ops.KvCache.latent("bfloat16", 48, 8, 9)
    parts, spans, expected = [], [], []
    for own, (T, past) in zip(pages, ((4, 70), (1, 100), (40, 0)), strict=True):
        q, turned, rows, before = operands(rng, T, past)
        if past:
            cache.append_rows(before, own)
        spans.append((sum(len(p[0]) for p in parts), T, past, own))
        parts.append((q.reshape(T, -1), turned.reshape(T, -1), rows))
        alone = ops.latent_attention(q, turned, rows, 0.2, past=before, kv_dtype="bfloat16")
        expected.append(alone.reshape(T, -1))
    together = [np.concatenate(x) for x in zip(*parts, strict=True)]
    got = cache.latent_attention(*together, spans, 0.2)
    assert got.tobytes() == np.concatenate(expected).tobytes()


@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("isa", ISAS)
def test_what_is_not_seen_may_hold_anything(rng, isa, kv_dtype):
    q, turned, rows, past = operands(rng, 1, 45)
    clean = ops.latent_attention(q, turned, rows, 0.1, past=past, kv_dtype=kv_dtype, isa=isa)
    cache = _core.ops.KvCache.latent(kv_dtype, 48, 8, 2)
    cache.append_rows(np.full((64, 56), np.nan, np.float32), [0, 1])
    cache.append_rows(past, [0, 1])
    span = [(0, 1, 45, [0, 1])]
    got = cache.latent_attention(q.reshape(1, -1), turned.reshape(1, -1), rows, span, 0.1, isa=isa)
    assert got.tobytes() == clean.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("column", [3, 20])
def test_a_nan_is_seen(rng, isa, kv_dtype, column):
    q, turned, rows, past = operands(rng, 1, 45)
    past[17, column] = np.nan
    got = ops.latent_attention(q, turned, rows, 0.1, past=past, kv_dtype=kv_dtype, isa=isa)
    assert np.isnan(got[..., column - 8 if column >= 8 else 0]).all()


def test_wrong_arguments_are_refused(rng):
    q, turned, rows, _ = operands(rng, 2, 3)
    for message, call in {
        "int4": lambda: ops.latent_attention(q, turned, rows, 0.1, kv_dtype="int4"),
        "together at most 640": lambda: _core.ops.KvCache.latent("float32", 600, 48, 1),
        "scale=0 must be positive": lambda: ops.latent_attention(q, turned, rows, 0.0),
        "sinks=3 without a window": lambda: ops.latent_attention(q, turned, rows, 0.1, sinks=3),
        "rows must have shape": lambda: ops.latent_attention(q, turned, rows[:, 1:], 0.1),
        "rows .T, P": lambda: ops.latent_attention(q, turned, rows[1:], 0.1),
        "at least 1 pages": lambda: ops.latent_attention(q, turned, rows, 0.1, pages=[]),
    }.items():
        if message.startswith("at least"):
            message = "must list at least one page"
        with pytest.raises(ValueError, match=message):
            call()
