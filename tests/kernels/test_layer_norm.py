import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def definition(x, weight, bias, eps):
    wide = x.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return centred / deviation, centred / deviation * weight + (0 if bias is None else bias)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("T, E", [(1, 1), (3, 15), (2, 16), (5, 63), (4, 64), (7, 577), (1, 2048)])
@pytest.mark.parametrize("offset, with_bias", [(0, True), (300, False)])
def test_matches_definition(rng, isa, T, E, offset, with_bias):
    x = (rng.normal(size=(T, E)) * 3 + offset).astype(np.float32)
    weight = rng.normal(size=E).astype(np.float32)
    bias = rng.normal(size=E).astype(np.float32) if with_bias else None
    normal, expected = definition(x, weight, bias, 1e-5)
    got = ops.layer_norm(x, weight, bias, 1e-5, isa=isa)
    # The sums have up to n = E/64 + 6 additions a lane. The centred values are exact up to the
    # rounding of x - mean (half an ulp of a value near x's spread) and of the correction (n
    # roundings of a sum of centred values); the deviation is off by (n + 4) / 2 roundings.
    n = E / 64 + 6
    spread = np.abs(normal).max(-1, keepdims=True)
    bound = EPS32 * np.abs(weight) * (np.abs(normal) * (n / 2 + 4) + spread * (n / 2 + 2))
    bound += EPS32 * np.abs(expected) + 1e-30
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
def test_one_large_channel_does_not_drown_the_others(rng, isa):
    x = rng.normal(size=(2, 768)).astype(np.float32)
    x[0, 0] = x[1, 447] = 3000  # as in GPT-2
    got = ops.layer_norm(x, np.ones(768, np.float32), isa=isa)
    _, expected = definition(x, 1.0, None, 1e-5)
    # Every value is measured from a mean near 4: half an ulp of 8 over a deviation near 108.
    assert np.abs(got - expected)[np.abs(x) < 100].max() < 8 * EPS32 / 108 * 4


@pytest.mark.parametrize("isa", ISAS)
def test_same_bits_for_any_threads_and_batch(rng, isa):
    x = rng.normal(size=(7, 100)).astype(np.float32)
    weight, bias = rng.normal(size=(2, 100)).astype(np.float32)
    whole = ops.layer_norm(x, weight, bias, isa=isa, threads=1)
    for threads in (2, 3):
        again = ops.layer_norm(x, weight, bias, isa=isa, threads=threads)
        assert whole.tobytes() == again.tobytes()
    for t in range(7):
        assert whole[t].tobytes() == ops.layer_norm(x[t], weight, bias, isa=isa).tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x = rng.normal(size=(3, 333)).astype(np.float32)
    weight, bias = rng.normal(size=(2, 333)).astype(np.float32)
    a, b = (ops.layer_norm(x, weight, bias, isa=isa) for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


def test_wrong_shapes_are_refused():
    x = np.ones((2, 8), np.float32)
    with pytest.raises(ValueError, match="weight must have shape"):
        ops.layer_norm(x, np.ones(9, np.float32))
    with pytest.raises(ValueError, match="bias must have shape"):
        ops.layer_norm(x, np.ones(8, np.float32), np.ones((1, 8), np.float32))
