"""Every instruction set packs the same bits as the reference, from every source to every format."""

import numpy as np
import pytest

import genfast
from genfast._core import Weight

ISAS = [isa for isa in genfast.cpu_info()["isas"] if isa != "ref"]
FORMATS = ["f32", "f16", "bf16", "int8", "int4", "fp8"]
# Around a vector, a group, the panel's rows and the columns packed at a time
SHAPES = [(1, 1), (16, 16), (31, 33), (32, 512), (40, 513), (65, 1100)]


def source(rng, dtype, rows, cols, transposed):
    values = rng.normal(size=(rows, cols)) * np.exp(rng.normal(size=(rows, 1)) * 2)
    if dtype == "BF16":
        stored = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    else:
        stored = values.astype({"F32": np.float32, "F16": np.float16}[dtype])
    data = np.ascontiguousarray(stored.T if transposed else stored).reshape(-1).view(np.uint8)
    unaligned = np.zeros(data.size + 1, np.uint8)[1:]
    unaligned[:] = data
    return unaligned, dtype, rows, cols, transposed


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_same_bits_as_the_reference(rng, isa, format, dtype):
    for rows, cols in SHAPES:
        for transposed in (False, True):
            sources = [source(rng, dtype, rows, cols, transposed) for _ in range(2)]
            for gated in (False, True):
                want = Weight(format, sources, 1, gated, "ref").unpack()
                for threads in (1, 3):
                    got = Weight(format, sources, threads, gated, isa).unpack()
                    assert got.tobytes() == want.tobytes(), (rows, cols, transposed, gated)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", ["int8", "int4", "fp8"])
def test_extreme_numbers(rng, isa, format):
    largest = 5e36 if format == "int8" else 3e38  # rotation sums 64 of them
    for scale in (1e-44, 1e-38, 1e-20, 1e-6, 1e4, 1e7, 1e20, largest):
        w = np.clip(rng.normal(size=(33, 96)), -1, 1).astype(np.float32) * np.float32(scale)
        w[3, 32:64] = 0
        w[7] = np.float32(scale)
        data = (w.reshape(-1).view(np.uint8), "F32", 33, 96, False)
        want = Weight(format, [data], 1, False, "ref").unpack()
        assert np.isfinite(want).all()
        assert Weight(format, [data], 2, False, isa).unpack().tobytes() == want.tobytes(), scale


@pytest.mark.parametrize("isa", genfast.cpu_info()["isas"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row, column", [(0, 0), (45, 63), (45, 599)])
def test_quantised_formats_refuse_what_is_not_finite(rng, isa, bad, row, column):
    w = rng.normal(size=(50, 600)).astype(np.float32)
    w[row, column] = bad
    data = (w.reshape(-1).view(np.uint8), "F32", 50, 600, False)
    for format in ("int8", "int4", "fp8"):
        with pytest.raises(ValueError, match=f"row {row} "):
            Weight(format, [data], 2, False, isa)
    for format in ("f32", "f16", "bf16"):  # the others keep it
        kept = Weight(format, [data], 2, False, isa).unpack()[row, column]
        assert np.isnan(kept) if np.isnan(bad) else kept == bad


@pytest.mark.parametrize("isa", ISAS)
def test_any_nan_stays_one_in_bf16(isa):
    w = np.full((1, 40), 1, np.float32)
    w.view(np.uint32)[0, 17] = 0x7FFFFFFF  # adding half a unit to these bits gives -0
    got = Weight("bf16", [(w.reshape(-1).view(np.uint8), "F32", 1, 40, False)], 1, False, isa)
    assert np.isnan(got.unpack()[0, 17]) and (np.delete(got.unpack(), 17) == 1).all()


@pytest.mark.parametrize("isa", genfast.cpu_info()["isas"])
def test_bf16_keeps_every_pattern(isa):
    """All 65536 of them, NaNs too: a weight stored as bfloat16 is packed as it is."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    for rows, cols in [(64, 1024), (1 << 16, 1)]:
        data = (bits.view(np.uint8), "BF16", rows, cols, False)
        got = Weight("bf16", [data], 2, False, isa).unpack()
        assert (got.view(np.uint32) >> 16).reshape(-1).tolist() == bits.tolist()
