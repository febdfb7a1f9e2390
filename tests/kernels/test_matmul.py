import math

import numpy as np
import pytest

import genfast
from genfast import _core, ops
from quantised import E4M3, bfloat16, group_sums, rotated, symmetric8

ISAS = genfast.cpu_info()["isas"]
FORMATS = ["f32", "f16", "bf16", "fp8", "int8", "int4"]
EPS32 = float(np.finfo(np.float32).eps)
# (M, N, K): one token, tiles of several sizes, two tiles, panels and columns with tails
SHAPES = [
    (1, 1, 1),
    (1, 40, 33),
    (2, 32, 64),
    (3, 33, 7),
    (7, 96, 100),
    (13, 31, 65),
    (30, 70, 130),
]


def pack(weight, format, threads=0):
    flat = np.ascontiguousarray(weight, np.float32).reshape(-1).view(np.uint8)
    return _core.Weight(format, [(flat, "F32", *weight.shape, False)], threads)


def expected_and_bound(x, packed):
    """x @ w.T in float64 with the format's own integers, and a bound on its rounding error."""
    w = packed.unpack().astype(np.float64)
    if packed.format in ("f32", "f16", "bf16", "fp8"):
        if packed.format in ("bf16", "fp8"):
            x = bfloat16(x)
        exact = x.astype(np.float64) @ w.T
        # A chain of K fmas: each rounds a partial sum of at most sum |x w|. fp8's scale is one more
        # product, here in every weight.
        bound = (x.shape[1] + 2) * EPS32 * (np.abs(x).astype(np.float64) @ np.abs(w.T))
        return exact, bound
    if packed.format == "int8":
        q, scale = symmetric8(rotated(x))
        w = rotated(w).astype(np.float64)
        exact = (q @ w.T) * scale
        # The sum is exact; float(sum), two scales, two products are rounded. w = q * scale is
        # rounded once, then rotated back and here forth again: six stages, half an ulp of the norm
        # each.
        norms = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(w, axis=1)
        return exact, EPS32 * (4 * (np.abs(q) @ np.abs(w.T)) + 7 * norms) * scale
    q, scale = symmetric8(x)
    sums = group_sums(q, w)
    exact = sums.sum(-1) * scale
    # Weights unpack with one rounding; a chain of an fma per group; one product with the scale.
    chain = (sums.shape[-1] + 3) * EPS32 * np.abs(sums).sum(-1) * scale
    return exact, chain + EPS32 * (np.abs(q) @ np.abs(w.T)) * scale


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("M, N, K", [*SHAPES, (14, 32, 4100)])
def test_matches_definition(rng, isa, format, M, N, K):
    x = rng.normal(size=(M, K)).astype(np.float32)
    packed = pack(rng.normal(size=(N, K)), format)
    exact, bound = expected_and_bound(x, packed)
    got = ops.matmul(x, packed, isa=isa)
    assert (np.abs(got - exact) <= bound + EPS32 * np.abs(exact)).all()


def activate(name, x):
    erf = np.vectorize(math.erf)
    return {
        "none": lambda: x,
        "relu": lambda: np.maximum(x, 0),
        "silu": lambda: x / (1 + np.exp(-x)),
        "gelu": lambda: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        "gelu_tanh": lambda: (
            0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
        ),
    }[name]()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ["none", "relu", "silu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("format", ["f32", "int8"])
def test_epilogue(rng, isa, format, activation):
    M, N, K = 5, 45, 64
    x = rng.normal(size=(M, K)).astype(np.float32)
    packed = pack(rng.normal(size=(N, K)) / 8, format)
    bias = rng.normal(size=N).astype(np.float32)
    residual = rng.normal(size=(M, N)).astype(np.float32)
    exact, bound = expected_and_bound(x, packed)
    before = exact + bias
    expected = activate(activation, before) + residual
    # All slopes are below 1.2; the activations themselves are good to a few ulp (test_activation).
    allowed = 1.2 * (bound + 2 * EPS32 * np.abs(before)) + 16 * EPS32 * (np.abs(before) + 1)
    got = ops.matmul(x, packed, bias, residual, activation, isa=isa)
    assert (np.abs(got - expected) <= allowed + EPS32 * np.abs(expected)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("F", [1, 16, 37])
def test_gated_is_swiglu_of_two_products(rng, isa, format, F):
    """The same bits as the two matmuls (epilogue included) and the product of their results."""
    M, K = 14, 70
    x = rng.normal(size=(M, K)).astype(np.float32)
    w = rng.normal(size=(2 * F, K)).astype(np.float32)
    bias = rng.normal(size=2 * F).astype(np.float32)
    residual = rng.normal(size=(M, F)).astype(np.float32)
    got = ops.matmul(x, w, bias, residual, "silu", format=format, gated=True, isa=isa)
    gate = ops.matmul(x, w[:F], bias[:F], None, "silu", format=format, isa=isa)
    up = ops.matmul(x, w[F:], bias[F:], format=format, isa=isa)
    if isa == "ref":  # rounds once, at the end
        np.testing.assert_allclose(got, gate * up + residual, rtol=0, atol=4 * EPS32 * 1e3)
    else:
        assert got.tobytes() == (gate * up + residual).tobytes()
    for threads in (1, 2, 3):
        options = {"format": format, "gated": True, "isa": isa, "threads": threads}
        alone = ops.matmul(x[3:4], w, bias, residual[3:4], "silu", **options)
        assert alone.tobytes() == got[3:4].tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("N, K", [(96, 100), (70, 65), (33, 4102)])
def test_same_bits_for_any_batch_and_threads(rng, isa, format, N, K):
    x = rng.normal(size=(31, K)).astype(np.float32)
    bias = rng.normal(size=N).astype(np.float32)
    packed = pack(rng.normal(size=(N, K)), format)
    whole = ops.matmul(x, packed, bias, activation="silu", isa=isa, threads=1)
    for threads in (2, 3):
        got = ops.matmul(x, packed, bias, activation="silu", isa=isa, threads=threads)
        assert got.tobytes() == whole.tobytes()
    for M in range(1, 14):
        for threads in (1, 2, 3):
            got = ops.matmul(x[:M], packed, bias, activation="silu", isa=isa, threads=threads)
            assert got.tobytes() == whole[:M].tobytes()


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "ref"])
@pytest.mark.parametrize("format", FORMATS)
def test_same_bits_in_blocks_of_tokens_columns_and_panels(rng, isa, format):
    """More of each than a block has by AVX2 (384 tokens, 256 columns, 8 panels), or a job."""
    M, N, K = 1200, 330, 600
    x = rng.normal(size=(M, K)).astype(np.float32)
    residual = rng.normal(size=(M, N)).astype(np.float32)
    packed = pack(rng.normal(size=(N, K)), format)
    whole = ops.matmul(x, packed, None, residual, isa=isa, threads=1)
    # From 96 tokens a thread on, or 384, each thread has its own.
    for rows in (M, 767, 768, 191, 192, *rng.integers(1, M, size=3)):
        for threads in (2, 3):
            got = ops.matmul(x[:rows], packed, None, residual[:rows], isa=isa, threads=threads)
            assert got.tobytes() == whole[:rows].tobytes(), (rows, threads)
    for m in (0, 383, 384, 799, *rng.integers(M, size=4)):
        alone = ops.matmul(x[m : m + 1], packed, None, residual[m : m + 1], isa=isa)
        assert alone.tobytes() == whole[m : m + 1].tobytes()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("M, N, K", [(1, 40, 33), (9, 70, 130), (17, 33, 257)])
def test_avx2_and_avx512_give_the_same_bits(rng, format, M, N, K):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x = rng.normal(size=(M, K)).astype(np.float32)
    packed = pack(rng.normal(size=(N, K)), format)
    residual = rng.normal(size=(M, N)).astype(np.float32)
    one, other = (
        ops.matmul(x, packed, None, residual, "gelu", isa=isa) for isa in ("avx2", "avx512")
    )
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("format", ["f32", "f16", "int8", "int4"])
@pytest.mark.parametrize("M, N, K", [(1, 40, 33), (33, 70, 130), (70, 33, 4102)])
def test_amx_gives_the_bits_of_avx512(rng, format, M, N, K):
    """All but bf16, which AMX adds up in another order. Elsewhere the self-test emulates AMX."""
    if "amx" not in ISAS:
        pytest.skip(genfast.cpu_info()["amx_missing"])
    assert _core.ops.matmul_variant("int8", isa="amx") == "int8_amx"
    assert _core.ops.matmul_variant("bf16", isa="amx") == "bf16_amx"
    x = rng.normal(size=(M, K)).astype(np.float32)
    packed = pack(rng.normal(size=(N, K)), format)
    one, other = (ops.matmul(x, packed, isa=isa) for isa in ("avx512", "amx"))
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("N, K", [(40, 33), (96, 260), (33, 1030)])
def test_fp8_has_the_bits_of_bf16_where_both_are_exact(rng, isa, N, K):
    """Every number of E4M3, and rows whose scale is 1; of one token, a tile's and several'."""
    w = E4M3[rng.integers(0, 127, (N, K)) + 128 * rng.integers(0, 2, (N, K))].astype(np.float32)
    w[:, 5] = 448
    x = rng.normal(size=(70, K)).astype(np.float32)
    bias = rng.normal(size=N).astype(np.float32)
    for M in (1, 2, 5, 6, 7, 13, 70):
        one, other = (
            ops.matmul(x[:M], w, bias, activation="silu", format=format, isa=isa)
            for format in ("bf16", "fp8")
        )
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", ["int8", "int4"])
def test_integer_sums_do_not_saturate(isa, format):
    """The largest products all of one sign, where 16-bit sums of pairs would overflow."""
    K = 1024
    for sign in (1, -1):
        x = np.full((3, K), 5, np.float32)
        w = np.full((40, K), 8 * sign, np.float32)
        if format == "int8":  # which rotates them back
            x, w = rotated(x), rotated(w)
        packed = pack(w, format)
        kept = rotated(packed.unpack()) if format == "int8" else packed.unpack()
        assert (np.abs(kept) == 8).all()
        got = ops.matmul(x, packed, isa=isa)
        np.testing.assert_allclose(got, sign * 40.0 * K, rtol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
def test_rows_that_are_not_finite_poison_themselves_alone(rng, isa, format):
    x = rng.normal(size=(4, 70)).astype(np.float32)
    packed = pack(rng.normal(size=(40, 70)), format)
    clean = ops.matmul(x, packed, isa=isa)
    x[1, 3], x[2, 69] = np.nan, np.inf
    got = ops.matmul(x, packed, isa=isa)
    assert not np.isfinite(got[1:3]).any()
    assert got[[0, 3]].tobytes() == clean[[0, 3]].tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
def test_zeros_and_empty_batches(isa, format):
    packed = pack(np.ones((40, 64)), format)
    assert (ops.matmul(np.zeros((3, 64), np.float32), packed, isa=isa) == 0).all()
    assert ops.matmul(np.zeros((0, 64), np.float32), packed, isa=isa).shape == (0, 40)


def test_leading_axes_and_arrays_packed_on_the_fly(rng):
    x = rng.normal(size=(2, 3, 16)).astype(np.float32)
    w = rng.normal(size=(8, 16)).astype(np.float32)
    assert ops.matmul(x, w).shape == (2, 3, 8)
    for format in FORMATS:
        one = ops.matmul(x, w, format=format)
        assert one.tobytes() == ops.matmul(x, pack(w, format)).tobytes()


def test_wrong_arguments_are_refused():
    x, w = np.ones((2, 8), np.float32), np.ones((4, 8), np.float32)
    with pytest.raises(ValueError, match="x must have 8 columns"):
        ops.matmul(np.ones((2, 9), np.float32), w)
    with pytest.raises(ValueError, match="bias must have shape"):
        ops.matmul(x, w, np.ones(5, np.float32))
    with pytest.raises(ValueError, match="residual must have"):
        ops.matmul(x, w, None, np.ones((2, 5), np.float32))
    with pytest.raises(ValueError, match="weight must have shape"):
        ops.matmul(x, np.ones(8, np.float32))
    with pytest.raises(ValueError, match="activation="):
        ops.matmul(x, w, activation="sine")
    with pytest.raises(ValueError, match="format="):
        ops.matmul(x, w, format="int3")
    with pytest.raises(ValueError, match="even number of rows"):
        ops.matmul(x, w[:3], gated=True)
    table = _core.Weight.rows(w.reshape(-1).view(np.uint8), "F32", 4, 8)
    with pytest.raises(ValueError, match="must be packed"):
        ops.matmul(x, table)
