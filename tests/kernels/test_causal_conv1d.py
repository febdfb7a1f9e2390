import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def operands(rng, T, C, W):
    x, weight = rng.normal(size=(T, C)), rng.normal(size=(W, C))
    return [a.astype(np.float32) for a in (x, weight, rng.normal(size=C))]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("T, C, W", [(1, 1, 2), (7, 17, 4), (3, 40, 8), (20, 16, 3), (2, 100, 4)])
@pytest.mark.parametrize("activation", ["none", "silu"])
def test_matches_definition(rng, isa, T, C, W, activation):
    x, weight, bias = operands(rng, T, C, W)
    padded = np.concatenate([np.zeros((W - 1, C)), x.astype(np.float64)])
    windows = np.stack([padded[k : k + T] for k in range(W)], axis=1)
    sums = bias + (windows * weight).sum(1)
    size = np.abs(bias) + np.abs(windows * weight).sum(1)
    expected = sums / (1 + np.exp(-sums)) if activation == "silu" else sums
    got, state = ops.causal_conv1d(x, weight, bias, activation=activation, isa=isa)
    # W roundings of the terms' magnitudes, silu's slope is at most 1.1; then its own.
    bound = 1.1 * W * EPS32 * size + (4 + np.abs(sums)) * EPS32 * np.abs(expected)
    assert (np.abs(got - expected) <= bound).all()
    assert state.ravel().tobytes() == padded[T:].astype(np.float32).tobytes()
    plain, _ = ops.causal_conv1d(x, weight, isa=isa)
    assert (np.abs(plain - (sums - bias)) <= W * EPS32 * size).all()


@pytest.mark.parametrize("isa", ISAS)
def test_same_bits_in_pieces_beside_others_and_on_other_threads(rng, isa):
    x, weight, bias = operands(rng, 23, 70, 4)
    whole, last = ops.causal_conv1d(x, weight, bias, activation="silu", isa=isa, threads=1)
    for cuts in ([1] * 23, [2, 1, 20], [11, 12]):
        state, parts, at = None, [], 0
        for rows in cuts:
            part, state = ops.causal_conv1d(
                x[at : at + rows], weight, bias, state, activation="silu", isa=isa, threads=2
            )
            parts.append(part)
            at += rows
        assert np.concatenate(parts).tobytes() == whole.tobytes()
        assert state.tobytes() == last.tobytes()
    both, states = ops.causal_conv1d(
        np.concatenate([x[:9], x]), weight, bias, lengths=[9, 23], activation="silu", isa=isa
    )
    assert both[:9].tobytes() == whole[:9].tobytes()
    assert both[9:].tobytes() == whole.tobytes()
    assert states[1:].tobytes() == last.tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x, weight, bias = operands(rng, 9, 333, 4)
    a, b = (
        ops.causal_conv1d(x, weight, bias, activation="silu", isa=isa)[0]
        for isa in ("avx2", "avx512")
    )
    assert a.tobytes() == b.tobytes()


def test_wrong_arguments_are_refused(rng):
    x, weight, bias = operands(rng, 5, 6, 4)
    with pytest.raises(ValueError, match="weight"):
        ops.causal_conv1d(x, weight[:, 1:], bias)
    with pytest.raises(ValueError, match="width of 1"):
        ops.causal_conv1d(x, weight[:1], bias)
    with pytest.raises(ValueError, match=r"bias.*\[6\]"):
        ops.causal_conv1d(x, weight, bias[1:])
    with pytest.raises(ValueError, match="none or silu"):
        ops.causal_conv1d(x, weight, bias, activation="gelu")
    with pytest.raises(ValueError, match="lengths add up to 4"):
        ops.causal_conv1d(x, weight, bias, lengths=[1, 3])
    with pytest.raises(ValueError, match=r"state.*\[1, 18\]"):
        ops.causal_conv1d(x, weight, bias, np.zeros((1, 17), np.float32))
