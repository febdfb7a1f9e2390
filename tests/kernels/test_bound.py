import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 1000])
@pytest.mark.parametrize("limit", [0.5, 30.0])
def test_matches_definition(rng, isa, n, limit):
    x = (rng.normal(size=n) * limit * 10.0 ** rng.uniform(-4, 1, n)).astype(np.float32)
    assert ops.bound(x, limit, isa=isa).tobytes() == np.clip(x, -limit, limit).tobytes()
    wide = x.astype(np.float64) / limit
    expected = limit * np.tanh(wide)
    got = ops.bound(x, limit, True, isa=isa)
    # x / limit is off by two roundings, which tanh does not magnify; then some eight more: of the
    # small form each is relative, of the large one to 1, which is at most 2.2 times the result.
    assert (np.abs(got - expected) <= 12 * EPS32 * np.abs(expected)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("soft", [False, True])
def test_what_is_not_finite(isa, soft):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 3e38], np.float32)
    got = ops.bound(x, 30.0, soft, isa=isa)
    assert np.isnan(got[0])
    assert got[1:].tolist() == [30.0, -30.0, 0.0, 30.0]


@pytest.mark.parametrize("soft", [False, True])
def test_same_bits_on_every_instruction_set_and_any_threads(rng, soft):
    x = (rng.normal(size=3000) * 20).astype(np.float32)
    fast = [isa for isa in ISAS if isa != "ref"]
    bits = {
        ops.bound(x, 30.0, soft, isa=isa, threads=n).tobytes() for isa in fast for n in (1, 2, 3)
    }
    assert len(bits) <= 1


def test_a_limit_must_be_positive():
    with pytest.raises(ValueError, match="limit=0"):
        ops.bound(np.ones(3, np.float32), 0.0)
