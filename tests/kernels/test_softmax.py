import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("T, V", [(1, 1), (3, 15), (2, 16), (5, 63), (2, 1025), (1, 49152)])
@pytest.mark.parametrize("spread", [1, 10])
def test_matches_definition(rng, isa, T, V, spread):
    x = (rng.normal(size=(T, V)) * spread).astype(np.float32)
    wide = x.astype(np.float64)
    away = wide - wide.max(-1, keepdims=True)
    sums = np.exp(away).sum(-1, keepdims=True)
    expected = np.exp(away) / sums
    # x - max is rounded (|x - max| / 2 ulp, an error of the exponent), exp is within 2 ulp; the sum
    # adds blocks of 1024 in 32 steps and 5: below 20 ulp, and the mean error of its terms.
    ulps = np.abs(away) / 2 + 3 + 20 + (expected * np.abs(away)).sum(-1, keepdims=True) / 2
    got = ops.softmax(x, isa=isa)
    assert (np.abs(got - expected) <= ulps * EPS32 * expected + 1e-37).all()
    logs = away - np.log(sums)
    got = ops.softmax(x, log=True, isa=isa)
    assert (np.abs(got - logs) <= (ulps + np.abs(logs) + np.log(sums)) * EPS32).all()


@pytest.mark.parametrize("isa", ISAS)
def test_masked_and_invalid_rows(isa):
    x = np.array([[0, -np.inf, 0], [-np.inf] * 3, [1, np.nan, 2], [np.inf, 0, 1]], np.float32)
    got = ops.softmax(x, isa=isa)
    assert (got[0] == [0.5, 0, 0.5]).all()
    assert np.isnan(got[1:]).all()
    got = ops.softmax(x, log=True, isa=isa)
    assert got[0, 1] == -np.inf and got[0, 0] == np.float32(-np.log(2))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("log", [False, True])
def test_same_bits_for_any_threads_and_batch(rng, isa, log):
    x = rng.normal(size=(7, 2100)).astype(np.float32)
    whole = ops.softmax(x, log, isa=isa, threads=1)
    for threads in (2, 3):
        assert whole.tobytes() == ops.softmax(x, log, isa=isa, threads=threads).tobytes()
    for t in range(7):
        assert whole[t].tobytes() == ops.softmax(x[t], log, isa=isa).tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x = (rng.normal(size=(3, 3333)) * 4).astype(np.float32)
    for log in (False, True):
        a, b = (ops.softmax(x, log, isa=isa) for isa in ("avx2", "avx512"))
        assert a.tobytes() == b.tobytes()


def test_a_scalar_is_refused():
    with pytest.raises(ValueError, match="x must have at least one axis"):
        ops.softmax(np.float32(1))
