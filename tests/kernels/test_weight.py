"""Packing and unpacking weights."""

import numpy as np
import pytest

from genfast._core import Weight
from quantised import E4M3, GROUP, rotated, scaled_e4m3, symmetric8

SHAPES = [(1, 1), (3, 5), (32, 32), (33, 64), (70, 100), (64, 577)]


def to_bf16(a):
    """float32 → bf16 bits, to nearest even."""
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def stored(a, dtype):
    """(bytes, dtype) of a float array in a file of that dtype, and its values as float32."""
    if dtype == "BF16":
        bits = to_bf16(a)
        return bits.reshape(-1).view(np.uint8), from_bf16(bits)
    a = np.ascontiguousarray(a, {"F32": np.float32, "F16": np.float16}[dtype])
    return a.reshape(-1).view(np.uint8), a.astype(np.float32)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("N, K", SHAPES)
def test_dense_formats_round_to_nearest_even(rng, N, K, dtype, transposed):
    w = rng.normal(size=(N, K)).astype(np.float32)
    data, values = stored(w.T if transposed else w, dtype)
    values = values.T if transposed else values
    source = (data, dtype, N, K, transposed)
    assert Weight("f32", [source]).unpack().tobytes() == values.tobytes()
    assert Weight("bf16", [source]).unpack().tobytes() == from_bf16(to_bf16(values)).tobytes()
    halves = values.astype(np.float16).astype(np.float32)
    assert Weight("f16", [source]).unpack().tobytes() == halves.tobytes()


def test_special_values_survive_dense_packing():
    w = np.array([[np.inf, -np.inf, 0.0, -0.0, 1e-40, 65504.0, 6e-8, -1e-45]], np.float32)
    got = Weight("f32", [(w.view(np.uint8).reshape(-1), "F32", 1, 8, False)]).unpack()
    assert got.tobytes() == w.tobytes()
    half = w.astype(np.float16)
    got = Weight("f16", [(half.view(np.uint8).reshape(-1), "F16", 1, 8, False)]).unpack()
    assert got.tobytes() == half.astype(np.float32).tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("N, K", SHAPES)
def test_int8_is_one_scale_a_rotated_row(rng, N, K, dtype):
    data, values = stored(rng.normal(size=(N, K)), dtype)
    values[0] = 0
    data = stored(values, dtype)[0]
    q, scale = symmetric8(rotated(values))
    got = Weight("int8", [(data, dtype, N, K, False)]).unpack()
    assert got.tobytes() == rotated(q.astype(np.float32) * scale)[:, :K].tobytes()


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("N, K", SHAPES)
def test_fp8_is_one_scale_a_row(rng, N, K, dtype):
    values = stored(rng.normal(size=(N, K)) * np.exp2(-rng.integers(0, 24, (N, K))), dtype)[1]
    values[0] = 0
    data = stored(values, dtype)[0]
    q, scale = scaled_e4m3(values)
    got = Weight("fp8", [(data, dtype, N, K, False)]).unpack()
    assert got.tobytes() == (q.astype(np.float32) * scale).tobytes()


def test_fp8_keeps_every_number_and_rounds_what_lies_between_to_even():
    numbers = E4M3[np.arange(127)].astype(np.float32)
    between = (numbers[:-1] + numbers[1:]) / 2
    near = np.concatenate([np.nextafter(between, x, dtype=np.float32) for x in (0, np.inf)])
    even = np.where(np.arange(126) % 2 == 0, numbers[:-1], numbers[1:])
    w = np.concatenate([numbers, between, near, [448]]).astype(np.float32)
    expected = np.concatenate([numbers, even, numbers[:-1], numbers[1:], [448]]).astype(np.float32)
    w, expected = np.stack([w, -w]), np.stack([expected, -expected])
    got = Weight("fp8", [(w.reshape(-1).view(np.uint8), "F32", *w.shape, False)]).unpack()
    assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("K", [1, 4, 15, 64, 172, 576])
def test_rotation_keeps_products_and_spreads_outliers(rng, K):
    x, w = rng.normal(size=(2, 20, K)).astype(np.float32)
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    got = rotated(x).astype(np.float64) @ rotated(w).T.astype(np.float64)
    # Norms stay; each of six stages rounds by at most half an ulp, on both sides.
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(w, axis=1)
    assert (np.abs(got - exact) <= 6 * np.finfo(np.float32).eps * norms).all()
    if K % 64 == 0:  # one weight a hundred times the others costs them little
        w[:, 3] = 100
        step = np.abs(w).max(1) / 127
        kept = Weight("int8", [(w.reshape(-1).view(np.uint8), "F32", 20, K, False)]).unpack()
        error = np.sqrt(((kept - w).astype(np.float64) ** 2).mean(1))
        assert (error < step / np.sqrt(12) / 4).all()


@pytest.mark.parametrize("N, K", SHAPES)
def test_int4_is_close_and_no_worse_than_plain_rounding(rng, N, K):
    w = rng.normal(size=(N, K)).astype(np.float32)
    got = Weight("int4", [(w.reshape(-1).view(np.uint8), "F32", N, K, False)]).unpack()
    for g in range(0, K, GROUP):
        part, approximate = w[:, g : g + GROUP], got[:, g : g + GROUP]
        # Plain rounding: scale = (signed extreme) / -8, q in [-8, 7]; then the scale in f16.
        extreme = np.take_along_axis(part, np.abs(part).argmax(-1, keepdims=True), -1)
        scale = extreme / np.float32(-8)
        q = np.clip(np.rint(part / scale), -8, 7)
        plain = q * scale.astype(np.float16).astype(np.float32)
        error = ((part - approximate).astype(np.float64) ** 2).sum(-1)
        bound = ((part - plain).astype(np.float64) ** 2).sum(-1)
        # The scale is the least squares fit but for its rounding to f16: by at most 2^-11 of it,
        # or 2^-25 where f16 is subnormal; times quants of at most 8.
        rounding = 2.0**-22 * (part.astype(float) ** 2).sum(-1) + GROUP * 64 * 2.0**-50
        assert (error <= bound * (1 + 1e-5) + rounding).all()
        assert all(len(np.unique(row)) <= 16 for row in approximate)


def test_zero_groups_and_tiny_rows_become_zeros():
    w = np.zeros((2, 64), np.float32)
    w[1] = 1e-38
    for format in ("int8", "int4", "fp8"):
        got = Weight(format, [(w.reshape(-1).view(np.uint8), "F32", 2, 64, False)]).unpack()
        assert (got == 0).all()


def test_sources_stack_along_rows_for_any_threads(rng):
    parts = [rng.normal(size=(n, 40)).astype(np.float32) for n in (31, 7, 50)]
    sources = [(p.reshape(-1).view(np.uint8), "F32", len(p), 40, False) for p in parts]
    for format in ("f32", "int8", "int4", "fp8"):
        one = Weight(format, sources, threads=1)
        assert (one.N, one.K, one.format) == (88, 40, format)
        for threads in (2, 3):
            assert one.unpack().tobytes() == Weight(format, sources, threads).unpack().tobytes()
        separate = [Weight(format, [s]).unpack() for s in sources]
        assert one.unpack().tobytes() == np.concatenate(separate).tobytes()
    assert one.unpack().shape == (88, 40)


def test_rows_refer_to_the_array_itself(rng):
    w = rng.normal(size=(5, 6)).astype(np.float32)
    view = w.reshape(-1).view(np.uint8)
    table = Weight.rows(view, "F32", 5, 6)
    w[2, 3] = 42
    del view
    assert table.unpack().tobytes() == w.tobytes() and table.nbytes == 120


def test_sizes_follow_the_layout():
    source = (np.zeros(40 * 100 * 4, np.uint8), "F32", 40, 100, False)
    # two panels of 32 rows; int8: scales and sums; fp8: scales; int4: 4 groups of 32 columns
    expected = {
        "f32": 64 * 400,
        "f16": 64 * 200,
        "bf16": 64 * 200,
        "int8": 64 * 100 + 64 * 8,
        "fp8": 64 * 100 + 64 * 4,
        "int4": 64 * 4 * 18,
    }
    assert {f: Weight(f, [source]).nbytes for f in expected} == expected


def test_wrong_sources_are_refused():
    data = np.zeros(24, np.uint8)
    with pytest.raises(ValueError, match="format="):
        Weight("int5", [(data, "F32", 2, 3, False)])
    with pytest.raises(ValueError, match="dtype"):
        Weight("f32", [(data, "I64", 2, 3, False)])
    with pytest.raises(ValueError, match="does not match"):
        Weight("f32", [(data, "F32", 2, 4, False)])
    with pytest.raises(ValueError, match="does not match"):
        Weight("f32", [(data, "F32", 2**62, 2**62, False)])
    with pytest.raises(ValueError, match="rows and columns"):
        Weight("f32", [(data[:0], "F32", 0, 3, False)])
    with pytest.raises(ValueError, match="equal columns"):
        Weight("f32", [(data, "F32", 2, 3, False), (data, "F32", 3, 2, False)])
    with pytest.raises(ValueError, match="at least one"):
        Weight("f32", [])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("format", ["int8", "int4", "fp8"])
def test_values_that_are_not_finite_cannot_be_quantised(rng, format, bad):
    w = rng.normal(size=(70, 40)).astype(np.float32)
    w[41, 7] = bad
    with pytest.raises(ValueError, match="row 41 holds a value that is not finite"):
        Weight(format, [(w.reshape(-1).view(np.uint8), "F32", 70, 40, False)])


def test_many_matrices_keep_their_numbers(rng):
    """Of sizes around those that lie side by side in slabs; half of them let go of."""
    sizes = [(32, 64), (300, 128), (1000, 100), (700, 700), (2100, 1000)] * 12
    arrays = [rng.normal(size=size).astype(np.float32) for size in sizes]

    def packed(a):
        return Weight("f32", [(a.reshape(-1).view(np.uint8), "F32", *a.shape, False)])

    weights = [packed(a) for a in arrays]
    del weights[::2], arrays[::2]
    arrays += [rng.normal(size=(500, 300)).astype(np.float32) for _ in range(20)]
    weights += [packed(a) for a in arrays[len(weights) :]]
    for array, weight in zip(arrays, weights, strict=True):
        assert weight.unpack().tobytes() == array.tobytes()
        assert weight.data.ctypes.data % 64 == 0
