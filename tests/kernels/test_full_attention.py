import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def heads_of(x, heads):
    n, t, _ = x.shape
    return x.astype(np.float64).reshape(n, t, heads, -1).transpose(0, 2, 1, 3)


def definition(q, k, v, heads, causal=False, bias=0.0, mask=None):
    """The result, and the same of absolute values: what roundings of products are relative to."""
    q, k, v = (heads_of(x, heads) for x in (q, k, v))
    scores = q @ k.transpose(0, 1, 3, 2) * q.shape[-1] ** -0.5 + bias
    if mask is not None:
        scores = scores + mask[:, None, None, :]
    if causal:
        later = np.triu(np.ones(scores.shape[-2:], bool), 1)
        scores = np.where(later, -np.inf, scores)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)

    def whole(x):
        return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)

    largest = np.abs(scores[np.isfinite(scores)]).max()
    return whole(weights @ v), whole(weights @ np.abs(v)), largest


def random(rng, N, Tq, Tk, heads, D):
    q = rng.normal(size=(N, Tq, heads * D)).astype(np.float32)
    k, v = rng.normal(size=(2, N, Tk, heads * D)).astype(np.float32)
    return q, k, v


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "N, Tq, Tk, heads, D",
    [
        (1, 1, 1, 1, 1),
        (2, 5, 7, 3, 8),
        (1, 49, 33, 2, 40),
        (2, 100, 100, 1, 64),
        (1, 3, 2100, 1, 9),
    ],
)
def test_matches_definition(rng, isa, N, Tq, Tk, heads, D):
    q, k, v = random(rng, N, Tq, Tk, heads, D)
    got = ops.full_attention(q, k, v, heads=heads, isa=isa)
    expected, size, largest = definition(q, k, v, heads)
    # A score is D fused multiply-adds of products that sum up to at most |q| |k|; its error is the
    # weight's relative one. The weights' sum and the values' sum are Tk additions each.
    products = np.linalg.norm(heads_of(q, heads), axis=-1).max()
    products *= np.linalg.norm(heads_of(k, heads), axis=-1).max() * D**-0.5
    bound = EPS32 * ((D + 3) * products + largest + Tk + 8) * size
    assert got.shape == expected.shape
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("per_head", [False, True])
@pytest.mark.parametrize("T", [20, 405])  # one block of keys, several
def test_bias_mask_and_causality(rng, isa, per_head, T):
    q, k, v = random(rng, 2, T, T, 2, 16)
    bias = rng.normal(size=(2, T, T) if per_head else (T, T)).astype(np.float32)
    mask = np.where(rng.random((2, T)) < 0.3, -1e4, 0).astype(np.float32)
    mask[:, 0] = 0
    got = ops.full_attention(q, k, v, heads=2, causal=True, bias=bias, mask=mask, isa=isa)
    wide = bias.astype(np.float64)
    expected, size, _ = definition(q, k, v, 2, True, wide if per_head else wide[None], mask)
    products = 4 * np.abs(q).max() * np.abs(k).max()  # sqrt(D) times the largest ones
    # Beside -1e4 a score keeps an ulp of 1e4, but its weight is zero then.
    assert (np.abs(got - expected) <= EPS32 * (19 * products + T + 40) * size).all()


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "ref"])
def test_bfloat16_rounds_what_it_multiplies(rng, isa):
    q, k, v = random(rng, 1, 60, 70, 2, 32)
    got = ops.full_attention(q, k, v, heads=2, bfloat16=True, isa=isa)
    exact, size, _ = definition(q, k, v, 2)
    # Two factors rounded to 8 bits move a score, weight and value are rounded once each.
    products = np.linalg.norm(heads_of(q, 2), axis=-1).max()
    products *= np.linalg.norm(heads_of(k, 2), axis=-1).max() * 32**-0.5
    assert (np.abs(got - exact) <= 2.0**-8 * (4 * products + 2) * size).all()
    plain = ops.full_attention(q, k, v, heads=2, isa=isa)
    assert got.tobytes() != plain.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("Tk", [50, 405])  # one block of keys, several
def test_same_bits_for_any_threads_batch_and_queries(rng, isa, bfloat16, Tk):
    q, k, v = random(rng, 2, 61, Tk, 2, 24)
    options = {"heads": 2, "bfloat16": bfloat16, "isa": isa}
    whole = ops.full_attention(q, k, v, threads=1, **options)
    for threads in (2, 3):
        assert whole.tobytes() == ops.full_attention(q, k, v, threads=threads, **options).tobytes()
    for n in range(2):
        rows = slice(n, n + 1)
        alone = ops.full_attention(q[rows], k[rows], v[rows], **options)
        assert whole[n].tobytes() == alone[0].tobytes()
    some = ops.full_attention(q[:, 7:30], k, v, **options)
    assert np.ascontiguousarray(whole[:, 7:30]).tobytes() == some.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("which", ["q", "k", "v"])
def test_what_is_no_number_shows(rng, isa, which):
    given = dict(zip("qkv", random(rng, 1, 20, 20, 1, 8), strict=True))
    given[which][0, 3, 2] = np.nan
    got = ops.full_attention(**given, heads=1, isa=isa)
    rows = np.isnan(got[0]).any(1)
    assert rows[3] if which == "q" else rows.all()
    assert which != "q" or rows.sum() == 1


def test_wrong_shapes_are_refused(rng):
    q, k, v = random(rng, 1, 4, 5, 2, 8)
    with pytest.raises(ValueError, match="heads=3"):
        ops.full_attention(q, k, v, heads=3)
    with pytest.raises(ValueError, match="v has shape"):
        ops.full_attention(q, k, v[:, 1:], heads=2)
    with pytest.raises(ValueError, match="mask has shape"):
        ops.full_attention(q, k, v, heads=2, mask=np.zeros((1, 4)))
    with pytest.raises(ValueError, match="bias has shape"):
        ops.full_attention(q, k, v, heads=2, bias=np.zeros((3, 5)))
