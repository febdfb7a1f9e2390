import numpy as np
import pytest

import genfast
from genfast import ops
from wkv_norm import EPS32, head_norm

ISAS = genfast.cpu_info()["isas"]
SHAPES = [(1, 1), (3, 5), (2, 16), (4, 33), (2, 40), (2, 64)]  # heads, head dimension
EPS = 64e-5


def operands(rng, T, shape, alike):
    """r, k, v, g, w; u, weight, bias. alike: one w for all tokens."""
    columns = [rng.normal(size=(T, *shape)).astype(np.float32) for _ in range(5)]
    if alike:
        columns[4] = columns[4][0].reshape(-1)
    return columns, [rng.normal(size=np.prod(shape)).astype(np.float32) for _ in range(3)]


def definition(columns, vectors):
    """float64: what comes out, and how far roundings may move it, to the first order."""
    r, k, v, g, w = (x.astype(np.float64) for x in columns)
    T, H, D = r.shape
    u, weight, bias = (x.astype(np.float64).reshape(H, D) for x in vectors)
    rate = np.broadcast_to(np.exp(w.reshape(-1, H, D)), r.shape)
    decay = np.exp(-rate)
    decay_off = decay * 4 * EPS32 * (rate + 1) + 2e-38  # less than that is 0 to the kernel
    S, S_off = np.zeros((H, D, D)), np.zeros((H, D, D))
    out, off = np.empty_like(r), np.empty_like(r)
    for t in range(T):
        kt, rt, d, d_off = (x[t][..., None] for x in (k, r, decay, decay_off))
        added = kt * v[t][:, None]
        own = u[..., None] * added
        y = (rt * (S + own)).sum(1)
        terms = np.abs(rt) * (np.abs(S) + np.abs(own))
        y_off = (np.abs(rt) * S_off + (D + 4) * EPS32 * terms).sum(1)
        S_off = d * S_off + d_off * np.abs(S) + 3 * EPS32 * (np.abs(d * S) + np.abs(added))
        S = d * S + added
        n, n_off = head_norm(y, y_off, EPS)
        total = n * weight + bias
        total_off = np.abs(weight) * n_off + 2 * EPS32 * (np.abs(n * weight) + np.abs(bias))
        out[t] = total * g[t]
        off[t] = np.abs(g[t]) * total_off + EPS32 * np.abs(out[t])
    return out, off


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alike", [False, True])
def test_matches_definition(rng, isa, shape, alike):
    columns, vectors = operands(rng, 7, shape, alike)
    expected, bound = definition(columns, vectors)
    got, _ = ops.wkv6(*columns, *vectors, EPS, isa=isa)
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("alike", [False, True])
def test_same_bits_in_pieces_beside_others_and_on_other_threads(rng, isa, shape, alike):
    columns, vectors = operands(rng, 14, shape, alike)

    def run(rows, state=None, **options):
        own = [x if x.ndim == 1 else x[rows] for x in columns]
        return ops.wkv6(*own, *vectors, EPS, state, isa=isa, **options)

    whole, last = run(slice(None), threads=1)
    for cuts in ([1] * 14, [3, 11], [5, 5, 4]):
        state, outs, at = None, [], 0
        for rows in cuts:
            out, state = run(slice(at, at + rows), state, threads=3)
            outs.append(out)
            at += rows
        assert np.concatenate(outs).tobytes() == whole.tobytes()
        assert state.tobytes() == last.tobytes()
    both, states = run([*range(6), *range(14)], lengths=[6, 14])
    assert both[:6].tobytes() == whole[:6].tobytes()
    assert both[6:].tobytes() == whole.tobytes()
    assert states[1:].tobytes() == last.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_avx2_and_avx512_give_the_same_bits(rng, shape):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    columns, vectors = operands(rng, 9, shape, alike=False)
    a, b = (ops.wkv6(*columns, *vectors, EPS, isa=isa)[0] for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_decays_at_their_ends(rng, isa):
    """A state is kept whole, or gone at the next token; what is not a number stays in its head."""
    columns, vectors = operands(rng, 5, (2, 16), alike=True)
    columns[1][1:] = 0  # only the first token adds to the state
    columns[4][:] = -200
    first = ops.wkv6(*[x if x.ndim == 1 else x[:1] for x in columns], *vectors, EPS, isa=isa)[1]
    assert ops.wkv6(*columns, *vectors, EPS, isa=isa)[1].tobytes() == first.tobytes()
    columns[4][:] = 200
    out, state = ops.wkv6(*columns, *vectors, EPS, isa=isa)
    assert not state.any()
    gated = vectors[2].reshape(2, 16) * columns[3]
    assert out[2:].tobytes() == gated[2:].tobytes()
    columns[2][1, 0, 3] = np.nan
    out, _ = ops.wkv6(*columns, *vectors, EPS, isa=isa)
    assert np.isnan(out[1:, 0]).all() and np.isfinite(out[:, 1]).all() and np.isfinite(out[0]).all()


def test_wrong_arguments_are_refused(rng):
    columns, vectors = operands(rng, 5, (4, 16), alike=False)
    with pytest.raises(ValueError, match="k must have r's shape"):
        ops.wkv6(columns[0], columns[1][1:], *columns[2:], *vectors, EPS)
    with pytest.raises(ValueError, match="w must have r's shape"):
        ops.wkv6(*columns[:4], columns[4][1:], *vectors, EPS)
    with pytest.raises(ValueError, match=r"w must have shape \[64\]"):
        ops.wkv6(*columns[:4], vectors[0][1:], *vectors, EPS)
    with pytest.raises(ValueError, match=r"u must have shape \[64\]"):
        ops.wkv6(*columns, vectors[0][1:], *vectors[1:], EPS)
    with pytest.raises(ValueError, match="eps=-1"):
        ops.wkv6(*columns, *vectors, -1.0)
    with pytest.raises(ValueError, match="state must have shape"):
        ops.wkv6(*columns, *vectors, EPS, np.zeros((1, 40), np.float32))
    wide = [np.zeros((1, 1, 257), np.float32)] * 5
    with pytest.raises(ValueError, match="D at most 256"):
        ops.wkv6(*wide, *[np.zeros(257, np.float32)] * 3, EPS)
