import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
SIZES = [1, 15, 16, 33, 100]


def operands(rng, T, C, spread=3.0):
    """k, v, w, u"""
    k, v = rng.normal(size=(2, T, C)) * [[[spread]], [[1]]]
    w, u = -np.exp(rng.normal(size=C)), rng.normal(size=C)
    return [a.astype(np.float32) for a in (k, v, w, u)]


def definition(k, v, w, u):
    """float64, each token's weights anew: what comes out, and how far roundings may move it."""
    k, v, w, u = (a.astype(np.float64) for a in (k, v, w, u))
    T = len(k)
    out, off = np.empty_like(k), np.empty_like(k)
    for t in range(T):
        age = np.arange(t - 1, -1, -1)[:, None]
        exponents = np.concatenate([k[:t] + age * w, (k[t] + u)[None]])
        weights = np.exp(exponents - exponents.max(0))
        out[t] = (weights * v[: t + 1]).sum(0) / weights.sum(0)
        # A token before hands on each weight with the roundings of an exponent (a sum of two, and
        # the difference of two such), of the exponential (2) and of the two sums (2).
        sizes = np.abs(k[: t + 1]).max(0) + np.abs(u) + (t + 1) * np.abs(w)
        weight_off = (t + 1) * EPS32 * (4 + 3 * sizes)
        spread = (weights * np.abs(v[: t + 1])).sum(0) / weights.sum(0)
        off[t] = spread * (2 * weight_off + 4 * EPS32)
    return out, off


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("C", SIZES)
@pytest.mark.parametrize("spread", [1.0, 30.0])
def test_matches_definition(rng, isa, C, spread):
    given = operands(rng, 11, C, spread)
    expected, bound = definition(*given)
    got, _ = ops.wkv4(*given, isa=isa)
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
def test_exponents_that_float32_does_not_hold(isa):
    """Weights of e^±1000: the largest alone counts, and what fades for a thousand tokens goes."""
    k = np.array([[-1000], [1000], [-1000], [1000]], np.float32)
    v = np.array([[1], [2], [3], [4]], np.float32)
    out, _ = ops.wkv4(k, v, np.float32([-1]), np.float32([0]), isa=isa)
    assert out[:2].ravel().tolist() == [1, 2] and out[2] == 2
    np.testing.assert_allclose(out[3], (2 / np.e + 4) / (1 / np.e + 1), rtol=1e-4)
    out, _ = ops.wkv4(k, v, np.float32([-np.inf]), np.float32([0]), isa=isa)
    assert out.ravel().tolist() == [1, 2, 2, 4]
    k = np.array([[1], [np.nan], [1]], np.float32)
    out, _ = ops.wkv4(k, v[:3], np.float32([-1]), np.float32([0]), isa=isa)
    assert np.isnan(out.ravel()).tolist() == [False, True, True]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("C", SIZES)
def test_same_bits_in_pieces_beside_others_and_on_other_threads(rng, isa, C):
    k, v, w, u = operands(rng, 14, C)
    whole, last = ops.wkv4(k, v, w, u, isa=isa, threads=1)
    for cuts in ([1] * 14, [3, 11], [5, 5, 4]):
        state, outs, at = None, [], 0
        for rows in cuts:
            part = slice(at, at + rows)
            out, state = ops.wkv4(k[part], v[part], w, u, state, isa=isa, threads=2)
            outs.append(out)
            at += rows
        assert np.concatenate(outs).tobytes() == whole.tobytes()
        assert state.tobytes() == last.tobytes()
    twice = [np.concatenate([a[:6], a]) for a in (k, v)]
    both, states = ops.wkv4(*twice, w, u, lengths=[6, 14], isa=isa)
    assert both[:6].tobytes() == whole[:6].tobytes()
    assert both[6:].tobytes() == whole.tobytes()
    assert states[1:].tobytes() == last.tobytes()


@pytest.mark.parametrize("C", SIZES)
def test_avx2_and_avx512_give_the_same_bits(rng, C):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    given = operands(rng, 9, C)
    a, b = (ops.wkv4(*given, isa=isa)[0] for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


def test_wrong_arguments_are_refused(rng):
    k, v, w, u = operands(rng, 5, 20)
    with pytest.raises(ValueError, match=r"k must have shape \[T, C\]"):
        ops.wkv4(k[0], v, w, u)
    with pytest.raises(ValueError, match=r"v must have k's shape, \[5, 20\]"):
        ops.wkv4(k, v[1:], w, u)
    with pytest.raises(ValueError, match=r"w must have shape \[20\]"):
        ops.wkv4(k, v, w[1:], u)
    with pytest.raises(ValueError, match=r"u must have shape \[20\]"):
        ops.wkv4(k, v, w, u[1:])
    with pytest.raises(ValueError, match=r"state must have shape \[1, 60\]"):
        ops.wkv4(k, v, w, u, np.zeros((1, 40), np.float32))
