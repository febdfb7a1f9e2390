import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def definition(logits):
    wide = np.where(np.isnan(logits), -np.inf, logits).astype(np.float64)
    z = wide - wide.max()
    weight = np.exp(z)
    order = np.lexsort((np.arange(len(z)), -z))
    # the error of ln(sum): that of the terms (z rounded, exp within 2 ulp) and of block sums
    mean = (weight * np.where(weight > 0, -z, 0)).sum() / weight.sum()
    return z - np.log(weight.sum()), order, EPS32 * (mean + 25)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [1, 3, 64, 65, 1000, 50257, 128256])
@pytest.mark.parametrize("spread", [0.1, 3])
def test_matches_definition(rng, isa, V, spread):
    logits = (rng.normal(size=V) * spread + 7).astype(np.float32)
    expected, order, error = definition(logits)
    bound = error + EPS32 * (np.abs(expected) + np.log(V))
    for top_n in {0, 1, min(V, 5), min(V, 20), min(V, 300)}:
        token = int(rng.integers(V))
        got, ids, values = ops.logprobs(logits, token, top_n, isa=isa)
        assert abs(got - expected[token]) <= bound[token]
        assert ids.tolist() == order[:top_n].tolist()
        assert (np.abs(values - expected[ids]) <= bound[ids]).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [5, 100, 4000])
def test_all_of_a_vocabulary(rng, isa, V):
    logits = rng.normal(size=V).astype(np.float32).round(1)  # ties
    _, ids, values = ops.logprobs(logits, 0, V, isa=isa)
    assert ids.tolist() == np.argsort(-logits, kind="stable").tolist()
    assert np.exp(values.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [4, 3000])
def test_masked_values(isa, V):
    logits = np.full(V, -np.inf, np.float32)
    logits[1] = np.nan
    logits[V - 1], logits[0] = 1.0, 1.0
    got, ids, values = ops.logprobs(logits, 1, 4, isa=isa)
    half = np.float32(-np.log(2))
    assert got == -np.inf
    assert ids.tolist() == [0, V - 1, -1, -1]
    assert values[:2].tolist() == [half, half] and (values[2:] == -np.inf).all()
    equal = np.zeros(V, np.float32)
    assert ops.logprobs(equal, 0, 3, isa=isa)[1].tolist() == [0, 1, 2]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [1, 17, 64, 1000, 50257])
def test_all_log_probabilities(rng, isa, V):
    logits = (rng.normal(size=V) * 3 + 7).astype(np.float32)
    expected, _, error = definition(logits)
    got = ops.log_softmax(logits, isa=isa)
    # Logit minus maximum, its logarithm of the sum, and their difference are rounded.
    bound = error + EPS32 * (2 * np.abs(expected) + 2 * np.log(V))
    assert (np.abs(got - expected) <= bound).all()
    logits[rng.integers(V)] = np.nan
    assert (got := ops.log_softmax(logits, isa=isa))[np.isnan(logits)].tolist() == [-np.inf]
    assert not np.isnan(got).any()


@pytest.mark.parametrize("isa", ISAS)
def test_edited_log_probabilities_are_told_as_they_are(rng, isa):
    values = ops.log_softmax(rng.normal(size=3000).astype(np.float32), isa=isa)
    values[5], values[6] = -np.inf, 2.0
    of_token, ids, top = ops.logprobs(values, 7, 40, normalised=True, isa=isa)
    assert of_token == values[7] and ids[0] == 6
    assert ids.tolist() == np.argsort(-values, kind="stable")[:40].tolist()
    assert top.tobytes() == values[ids].tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    logits = (rng.normal(size=70001) * 4).astype(np.float32)
    a, b = (ops.logprobs(logits, 123, 20, isa=isa) for isa in ("avx2", "avx512"))
    assert a[0] == b[0]
    assert a[1].tobytes() == b[1].tobytes() and a[2].tobytes() == b[2].tobytes()
    a, b = (ops.log_softmax(logits, isa=isa) for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


def test_wrong_arguments_are_refused():
    logits = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="token=4 must be 0 to 3"):
        ops.logprobs(logits, 4)
    with pytest.raises(ValueError, match="top_n=5 must be 0 to 4"):
        ops.logprobs(logits, 0, 5)
