import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
GATES = {
    "none": lambda x, **kw: x,
    "relu": ops.relu,
    "silu": ops.silu,
    "gelu": ops.gelu,
    "gelu_tanh": lambda x, **kw: ops.gelu(x, approximate="tanh", **kw),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("T, F", [(1, 1), (3, 15), (2, 16), (5, 63), (1, 1536), (4, 257)])
def test_matches_definition(rng, isa, T, F):
    x = (rng.normal(size=(T, 2 * F)) * 3).astype(np.float32)
    gate, up = x[:, :F].astype(np.float64), x[:, F:].astype(np.float64)
    expected = gate / (1 + np.exp(-gate)) * up
    # silu within 4 + |gate| roundings (test_activation.py), and the product
    bound = (5 + np.abs(gate)) * EPS32 * np.abs(expected)
    assert (np.abs(ops.swiglu(x, isa=isa) - expected) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", GATES)
def test_is_the_activation_times_up(rng, isa, activation):
    x = rng.normal(size=(3, 2 * 101)).astype(np.float32)
    expected = GATES[activation](x[:, :101], isa=isa) * x[:, 101:]
    got = ops.swiglu(x, activation, isa=isa)
    # ref rounds once, the others after the activation too
    assert (np.abs(got - expected) <= EPS32 * np.abs(expected) + 1e-37).all()


@pytest.mark.parametrize("isa", ISAS)
def test_clamped(rng, isa):
    """gpt-oss's, on both sides of its limits."""
    x = (rng.normal(size=(4, 2 * 300)) * 6).astype(np.float32)
    x[0, :4] = [7, -60, np.inf, -200]
    gate, up = x[:, :300].astype(np.float64), x[:, 300:].astype(np.float64)
    gate, factor = np.minimum(np.maximum(gate, -51), 7), np.clip(up, -7, 7) + 1
    size = gate / (1 + np.exp(-1.702 * gate))
    # As silu, whose exponent is 1.702 times as large; the factor's own sum counts in full.
    bound = (6 + 2 * np.abs(gate)) * EPS32 * np.abs(size) * (np.abs(factor) + 1) + 1e-34
    got = ops.swiglu(x, "clamped_silu", isa=isa)
    assert (np.abs(got - size * factor) <= bound).all()
    assert np.isnan(ops.swiglu(np.full(66, np.nan, np.float32), "clamped_silu", isa=isa)).all()


@pytest.mark.parametrize("isa", ISAS)
def test_same_bits_for_any_threads_and_batch(rng, isa):
    x = rng.normal(size=(5, 2 * 300)).astype(np.float32)
    whole = ops.swiglu(x, isa=isa, threads=1)
    for threads in (2, 3):
        assert whole.tobytes() == ops.swiglu(x, isa=isa, threads=threads).tobytes()
    for t in range(5):
        assert whole[t].tobytes() == ops.swiglu(x[t], isa=isa).tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x = rng.normal(size=(3, 2 * 333)).astype(np.float32)
    for activation in [*GATES, "clamped_silu"]:
        a, b = (ops.swiglu(x, activation, isa=isa) for isa in ("avx2", "avx512"))
        assert a.tobytes() == b.tobytes()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="even last axis"):
        ops.swiglu(np.ones((2, 7), np.float32))
    with pytest.raises(ValueError, match=r'activation="sine".*gelu_tanh'):
        ops.swiglu(np.ones((2, 8), np.float32), "sine")
