import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
# heads, head dimension, N, groups
MAMBA = [(1, 5, 3, 1), (1, 33, 16, 1), (1, 64, 7, 1)]
MAMBA2 = [(4, 16, 8, 2), (6, 20, 33, 3), (2, 64, 128, 1), (3, 1, 2, 1)]
SHAPES = [(shape, True) for shape in MAMBA] + [(shape, False) for shape in MAMBA2]


def operands(rng, T, shape, by_channel):
    """x, dt, A, B, C, D, dt_bias, z."""
    H, P, N, G = shape
    rates = H * P if by_channel else H
    arrays = [
        rng.normal(size=(T, H, P)),
        rng.normal(size=(T, rates)) * 3,
        -np.exp(rng.normal(size=(N, rates) if by_channel else rates)),
        rng.normal(size=(T, G, N)),
        rng.normal(size=(T, G, N)),
        rng.normal(size=H * P),
        rng.normal(size=rates),
        rng.normal(size=(T, H, P)) * 2,
    ]
    return [a.astype(np.float32) for a in arrays]


def definition(x, dt, A, B, C, D, dt_bias, z, limits):
    """float64: what comes out, and how far roundings may move it."""
    x, dt, A, B, C, D, dt_bias, z = (a.astype(np.float64) for a in (x, dt, A, B, C, D, dt_bias, z))
    T, H, P = x.shape
    G, N = B.shape[1:]
    raw = dt + dt_bias
    d = np.clip(np.maximum(raw, 0) + np.log1p(np.exp(-np.abs(raw))), *limits)
    # softplus: 6 roundings, and its argument's, which its slope of at most 1 hands on; of tiny
    # results, slope and value are alike
    d_off = EPS32 * (6 + np.minimum(np.abs(raw), np.abs(raw) / np.maximum(d, 1e-30))) * d
    if A.ndim == 2:
        exponent = (d[:, None] * A).reshape(T, N, H, P)
        exponent_off = (d_off[:, None] * np.abs(A)).reshape(T, N, H, P)
        d, d_off = d.reshape(T, H, P), d_off.reshape(T, H, P)
    else:
        exponent, exponent_off = (d * A)[:, None, :, None], (d_off * np.abs(A))[:, None, :, None]
        d, d_off = d[..., None], d_off[..., None]
    B, C = (np.repeat(a, H // G, axis=1).transpose(0, 2, 1)[..., None] for a in (B, C))
    S, S_off = np.zeros((N, H, P)), np.zeros((N, H, P))
    out, off = np.empty_like(x), np.empty_like(x)
    for t in range(T):
        decay = np.exp(exponent[t])
        decay_off = decay * (exponent_off[t] + EPS32 * (2 + np.abs(exponent[t])))
        add = d[t] * x[t] * B[t]
        add_off = np.abs(add) * 2 * EPS32 + d_off[t] * np.abs(x[t] * B[t])
        S_off = decay * S_off + decay_off * np.abs(S) + add_off
        S = decay * S + add
        S_off = S_off + EPS32 * np.abs(S)
        skip = D.reshape(H, P) * x[t]
        y = (S * C[t]).sum(0) + skip
        size = np.abs(S * C[t]).sum(0) + np.abs(skip)
        y_off = (S_off * np.abs(C[t])).sum(0) + (N + 1) * EPS32 * size
        gate = z[t] / (1 + np.exp(-z[t]))
        out[t] = y * gate
        off[t] = y_off * np.abs(gate) + (5 + np.abs(z[t])) * EPS32 * np.abs(out[t])
    return out, off


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape, by_channel", SHAPES)
@pytest.mark.parametrize("limits", [(0.0, np.inf), (0.1, 2.0)])
def test_matches_definition(rng, isa, shape, by_channel, limits):
    given = operands(rng, 11, shape, by_channel)
    expected, bound = definition(*given, limits)
    got, _ = ops.selective_scan(*given, dt_limits=limits, isa=isa)
    assert (np.abs(got - expected) <= bound).all()
    ungated, _ = ops.selective_scan(*given[:7], dt_limits=limits, isa=isa)
    gate = given[7] / (1 + np.exp(-given[7].astype(np.float64)))
    assert (np.abs(ungated * gate - expected) <= bound + 8 * EPS32 * np.abs(expected)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("shape, by_channel", SHAPES)
def test_same_bits_in_pieces_beside_others_and_on_other_threads(rng, isa, shape, by_channel):
    x, dt, A, B, C, D, bias, z = operands(rng, 14, shape, by_channel)

    def scan(rows: slice, state=None, **options):
        parts = (x[rows], dt[rows], A, B[rows], C[rows], D, bias, z[rows])
        return ops.selective_scan(*parts, state, isa=isa, **options)

    whole, last = scan(slice(None), threads=1)
    for cuts in ([1] * 14, [3, 11], [5, 5, 4]):
        state, outs, at = None, [], 0
        for rows in cuts:
            out, state = scan(slice(at, at + rows), state, threads=2)
            outs.append(out)
            at += rows
        assert np.concatenate(outs).tobytes() == whole.tobytes()
        assert state.tobytes() == last.tobytes()
    twice = [np.concatenate([a[:6], a]) for a in (x, dt, B, C, z)]
    both, states = ops.selective_scan(
        twice[0], twice[1], A, twice[2], twice[3], D, bias, twice[4], lengths=[6, 14], isa=isa
    )
    assert both[:6].tobytes() == whole[:6].tobytes()
    assert both[6:].tobytes() == whole.tobytes()
    assert states[1:].tobytes() == last.tobytes()


@pytest.mark.parametrize("shape, by_channel", SHAPES)
def test_avx2_and_avx512_give_the_same_bits(rng, shape, by_channel):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    given = operands(rng, 9, shape, by_channel)
    a, b = (ops.selective_scan(*given, isa=isa)[0] for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_softplus_at_its_ends(isa):
    """With A = 0, B = C = 1 and D = 0, out is the sum of d · x."""
    dt = np.array([[-200], [-80], [-20], [0], [20], [200]], np.float32)
    ones = np.ones((6, 1, 1), np.float32)
    out, _ = ops.selective_scan(
        ones, dt, np.zeros(1, np.float32), ones, ones, np.zeros(1, np.float32), isa=isa
    )
    steps = np.log1p(np.exp(-np.abs(dt.astype(np.float64)))) + np.maximum(dt, 0)
    assert out[0] <= 1e-37 and out[1] == pytest.approx(np.exp(-80), rel=1e-5)
    np.testing.assert_allclose(out.ravel()[2:], np.cumsum(steps)[2:], rtol=1e-6)


def test_wrong_arguments_are_refused(rng):
    x, dt, A, B, C, D, bias, z = operands(rng, 5, (4, 16, 8, 2), False)
    with pytest.raises(ValueError, match=r"dt must have shape \[5, 4\]"):
        ops.selective_scan(x, dt[:, 1:], A, B, C, D)
    with pytest.raises(ValueError, match="A must have shape"):
        ops.selective_scan(x, dt, A[1:], B, C, D)
    with pytest.raises(ValueError, match="groups dividing 4"):
        ops.selective_scan(x, dt, A, B[:, :0], C[:, :0], D)
    with pytest.raises(ValueError, match="C must have B's shape"):
        ops.selective_scan(x, dt, A, B, C[..., 1:], D)
    with pytest.raises(ValueError, match="z must have x's shape"):
        ops.selective_scan(x, dt, A, B, C, D, bias, z[1:])
    with pytest.raises(ValueError, match="dt_min=2"):
        ops.selective_scan(x, dt, A, B, C, D, dt_limits=(2, 1))
