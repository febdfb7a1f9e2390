import numpy as np
import pytest

import genfast
from genfast import ops
from wkv_norm import EPS32, head_norm

ISAS = genfast.cpu_info()["isas"]
SHAPES = [(1, 1), (3, 5), (2, 16), (4, 33), (2, 64)]  # heads, head dimension
EPS = 64e-5


def operands(rng, T, shape):
    """r, w, k, v, a, g; k_k, k_a, r_k, weight, bias; v_first, m."""
    scales = (1, 3, 1, 1, 3, 1)
    columns = [rng.normal(size=(T, *shape)) * scale for scale in scales]
    vectors = [rng.normal(size=np.prod(shape)) for _ in range(5)]
    blend = [rng.normal(size=(T, *shape)) for _ in range(2)]
    return [[x.astype(np.float32) for x in part] for part in (columns, vectors, blend)]


def sigmoid(x):
    """And how far it may be off: by roundings, and by that of its exponent."""
    y = 1 / (1 + np.exp(-x))
    return y, y * (4 + np.abs(x)) * EPS32


def definition(columns, vectors, blend):
    """float64: what comes out, and how far roundings may move it, to the first order."""
    r, w, k, v, a, g = (x.astype(np.float64) for x in columns)
    T, H, D = r.shape
    k_k, k_a, r_k, weight, bias = (x.astype(np.float64).reshape(H, D) for x in vectors)
    s, s_off = sigmoid(w)
    decay = np.exp(-np.exp(-0.5) * s)
    decay_off = decay * (s_off + 4 * EPS32)
    rate, rate_off = sigmoid(a)
    u, u_off = v, 0 * v
    if blend:
        v_first, m = (x.astype(np.float64) for x in blend)
        part, part_off = sigmoid(m)
        u = v + (v_first - v) * part
        u_off = np.abs(v_first - v) * (part_off + 2 * EPS32) + EPS32 * np.abs(u)
    q = k * k_k
    q = q / np.maximum(np.linalg.norm(q, axis=-1, keepdims=True), 1e-12)
    q_off = np.abs(q) * (D + 8) * EPS32
    inner = 1 + (rate - 1) * k_a
    inner_off = (rate_off + 2 * EPS32) * np.abs(k_a) + EPS32 * np.abs(inner)
    key, key_off = k * inner, np.abs(k) * (inner_off + EPS32 * np.abs(inner))
    back = q * rate
    back_off = q_off * rate + np.abs(q) * rate_off + EPS32 * np.abs(back)
    terms = r * key * r_k
    bonus = terms.sum(-1, keepdims=True)
    bonus_off = (np.abs(r * r_k) * key_off + (D + 2) * EPS32 * np.abs(terms)).sum(-1, keepdims=True)
    S, S_off = np.zeros((H, D, D)), np.zeros((H, D, D))
    out, off = np.empty_like(r), np.empty_like(r)
    for t in range(T):
        columns_of = (decay, decay_off, q, q_off, key, key_off, back, back_off, r)
        d, d_off, qt, qt_off, kt, kt_off, b, b_off, rt = (x[t][..., None] for x in columns_of)
        ut, ut_off = u[t][:, None], u_off[t][:, None]
        removed = -(S * qt).sum(1, keepdims=True)
        removed_off = (S_off * np.abs(qt) + np.abs(S) * (qt_off + D * EPS32 * np.abs(qt))).sum(
            1, keepdims=True
        )
        parts = np.abs(d * S) + np.abs(b * removed) + np.abs(kt * ut)
        S_off = d * S_off + d_off * np.abs(S) + b_off * np.abs(removed) + np.abs(b) * removed_off
        S_off = S_off + kt_off * np.abs(ut) + np.abs(kt) * ut_off + 3 * EPS32 * parts
        S = d * S + b * removed + kt * ut
        y = (S * rt).sum(1)
        y_off = ((S_off + D * EPS32 * np.abs(S)) * np.abs(rt)).sum(1)
        n, n_off = head_norm(y, y_off, EPS)
        total = n * weight + bias + bonus[t] * u[t]
        size = np.abs(n * weight) + np.abs(bias) + np.abs(bonus[t] * u[t])
        total_off = np.abs(weight) * n_off + np.abs(u[t]) * bonus_off[t]
        total_off = total_off + np.abs(bonus[t]) * u_off[t] + 4 * EPS32 * size
        out[t] = total * g[t]
        off[t] = np.abs(g[t]) * total_off + EPS32 * np.abs(out[t])
    return out, off


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("blended", [False, True])
def test_matches_definition(rng, isa, shape, blended):
    columns, vectors, blend = operands(rng, 7, shape)
    blend = blend if blended else []
    expected, bound = definition(columns, vectors, blend)
    got, _ = ops.wkv7(*columns, *vectors, EPS, *blend, isa=isa)
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape", SHAPES)
def test_same_bits_in_pieces_beside_others_and_on_other_threads(rng, isa, shape):
    columns, vectors, blend = operands(rng, 14, shape)

    def run(rows: slice, state=None, **options):
        own, mixed = ([x[rows] for x in part] for part in (columns, blend))
        return ops.wkv7(*own, *vectors, EPS, *mixed, state, isa=isa, **options)

    whole, last = run(slice(None), threads=1)
    for cuts in ([1] * 14, [3, 11], [5, 5, 4]):
        state, outs, at = None, [], 0
        for rows in cuts:
            out, state = run(slice(at, at + rows), state, threads=3)
            outs.append(out)
            at += rows
        assert np.concatenate(outs).tobytes() == whole.tobytes()
        assert state.tobytes() == last.tobytes()
    twice, mixed = ([np.concatenate([x[:6], x]) for x in part] for part in (columns, blend))
    both, states = ops.wkv7(*twice, *vectors, EPS, *mixed, lengths=[6, 14], isa=isa)
    assert both[:6].tobytes() == whole[:6].tobytes()
    assert both[6:].tobytes() == whole.tobytes()
    assert states[1:].tobytes() == last.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
def test_avx2_and_avx512_give_the_same_bits(rng, shape):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    columns, vectors, blend = operands(rng, 9, shape)
    a, b = (ops.wkv7(*columns, *vectors, EPS, *blend, isa=isa)[0] for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_keys_of_zero_leave_the_state_and_no_trace(rng, isa):
    """And what is not a number stays in its head."""
    columns, vectors, _ = operands(rng, 3, (2, 16))
    columns[2][:] = 0
    out, state = ops.wkv7(*columns, *vectors, EPS, isa=isa)
    assert not state.any()
    assert out.tobytes() == (vectors[4].reshape(2, 16) * columns[5]).tobytes()
    columns, vectors, _ = operands(rng, 3, (2, 16))
    columns[1][1, 0, 3] = np.nan
    out, _ = ops.wkv7(*columns, *vectors, EPS, isa=isa)
    assert np.isnan(out[1:, 0]).all() and np.isfinite(out[:, 1]).all() and np.isfinite(out[0]).all()


def test_wrong_arguments_are_refused(rng):
    columns, vectors, blend = operands(rng, 5, (4, 16))
    with pytest.raises(ValueError, match="w must have r's shape"):
        ops.wkv7(columns[0], columns[1][1:], *columns[2:], *vectors, EPS)
    with pytest.raises(ValueError, match=r"k_k must have shape \[64\]"):
        ops.wkv7(*columns, vectors[0][1:], *vectors[1:], EPS)
    with pytest.raises(ValueError, match="v_first and m go together"):
        ops.wkv7(*columns, *vectors, EPS, blend[0])
    with pytest.raises(ValueError, match="m must have r's shape"):
        ops.wkv7(*columns, *vectors, EPS, blend[0], blend[1][1:])
    with pytest.raises(ValueError, match="eps=-1"):
        ops.wkv7(*columns, *vectors, -1.0)
    wide = [np.zeros((1, 1, 257), np.float32)] * 6
    with pytest.raises(ValueError, match="D at most 256"):
        ops.wkv7(*wide, *[np.zeros(257, np.float32)] * 5, EPS)
