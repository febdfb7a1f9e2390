import math

import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
erfc = np.vectorize(math.erfc, otypes=[np.float64])

FUNCTIONS = {
    "gelu": lambda x, **kw: ops.gelu(x, **kw),
    "gelu_tanh": lambda x, **kw: ops.gelu(x, approximate="tanh", **kw),
    "silu": ops.silu,
    "relu": ops.relu,
    "quick_gelu": ops.quick_gelu,
    "tanh": ops.tanh,
    "leaky_relu": ops.leaky_relu,
    "relu2": ops.relu2,
    "sigmoid": ops.sigmoid,
}


def definition(kind: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f(x) in float64, and the relative error that the vector code may have."""
    x = x.astype(np.float64)
    if kind == "relu":
        return np.maximum(x, 0), np.zeros_like(x)
    if kind == "leaky_relu":  # the slope and the product
        return np.where(x < 0, 0.2 * x, x), np.full_like(x, EPS32)
    if kind == "relu2":
        return np.maximum(x, 0) ** 2, np.full_like(x, EPS32)
    if kind == "sigmoid":  # as silu
        return 1 / (1 + np.exp(-x)), (4 + np.abs(x)) * EPS32
    if kind == "tanh":  # a dozen roundings, or the exponential's
        return np.tanh(x), np.full_like(x, 12 * EPS32)
    # An exponent's roundings, and that of a constant in it, are half an ulp of it each; they become
    # a relative error of the exponential. What else there is, is rounded a few times.
    if kind == "gelu":  # exponent x^2/2: square, product, constant
        return 0.5 * x * erfc(-x / math.sqrt(2)), (5 + 0.75 * x * x) * EPS32
    if kind == "silu":  # exponent x: product, constant
        return x / (1 + np.exp(-np.maximum(x, -700))), (4 + np.abs(x)) * EPS32
    if kind == "quick_gelu":  # exponent 1.702 x: product, constant
        return x / (1 + np.exp(-np.maximum(1.702 * x, -700))), (4 + 1.8 * np.abs(x)) * EPS32
    # exponent u: square, fma, product, two constants
    u = 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return x / (1 + np.exp(-np.maximum(u, -700))), (4 + 2.5 * np.abs(u)) * EPS32


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("n", [1, 15, 16, 33, 1000])
def test_matches_definition(rng, isa, kind, n):
    x = rng.normal(size=n) * rng.choice([1e-4, 0.1, 1, 4, 30], size=n)
    x[: n // 8] = np.linspace(-9, 9, n // 8)  # where the tails matter
    x = x.astype(np.float32)
    expected, relative = definition(kind, x)
    got = FUNCTIONS[kind](x, isa=isa)
    # far below zero the functions keep a last value of about -1e-36
    assert (np.abs(got - expected) <= relative * np.abs(expected) + 1e-35).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_ends_and_zero(isa, kind):
    x = np.array([0, -0.0, 1e4, 3e38, -1e4, -3e38, np.inf, np.nan], np.float32)
    y = FUNCTIONS[kind](x, isa=isa)
    assert np.isnan(y[7])
    if kind == "sigmoid":
        assert (y[:4] == [0.5, 0.5, 1, 1]).all() and (y[4:6] <= 1e-37).all() and y[6] == 1
        return
    assert (y[:2] == 0).all()
    if kind == "relu2":
        assert (y[2:7] == [np.float32(1e8), np.inf, 0, 0, np.inf]).all()
        return
    if kind == "tanh":
        assert (np.abs(y[2:7] - [1, 1, -1, -1, 1]) <= EPS32).all()
        return
    if kind == "leaky_relu":
        assert (y[2:7] == [x[2], x[3], x[4] * np.float32(0.2), x[5] * np.float32(0.2), x[6]]).all()
        return
    assert (y[2:4] == x[2:4]).all() and y[6] == np.inf
    assert (np.abs(y[4:6]) <= 1e-30).all()
    assert np.isnan(y[7])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", FUNCTIONS)
def test_same_bits_for_any_threads_and_place(rng, isa, kind):
    x = rng.normal(size=(3, 700)).astype(np.float32)
    whole = FUNCTIONS[kind](x, isa=isa, threads=1)
    assert whole.shape == x.shape
    for threads in (2, 3):
        assert whole.tobytes() == FUNCTIONS[kind](x, isa=isa, threads=threads).tobytes()
    assert whole[1, 5:50].tobytes() == FUNCTIONS[kind](x[1, 5:50], isa=isa).tobytes()


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_avx2_and_avx512_give_the_same_bits(rng, kind):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x = (rng.normal(size=999) * 5).astype(np.float32)
    a, b = (FUNCTIONS[kind](x, isa=isa) for isa in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


def test_unknown_form_is_refused():
    with pytest.raises(ValueError, match="approximate='sigmoid'"):
        ops.gelu(np.ones(3, np.float32), approximate="sigmoid")
