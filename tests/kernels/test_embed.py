import numpy as np
import pytest

import genfast
from genfast import _core, ops

ISAS = genfast.cpu_info()["isas"]


def packed_table(rng, format, N, E):
    w = rng.normal(size=(N, E)).astype(np.float32)
    flat = w.reshape(-1).view(np.uint8)
    if format == "rows":
        return _core.Weight.rows(flat, "F32", N, E)
    return _core.Weight(format, [(flat, "F32", N, E, False)])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", ["f32", "f16", "bf16", "int8", "int4", "fp8", "rows"])
@pytest.mark.parametrize("N, E", [(1, 1), (40, 33), (70, 600)])
def test_rows_of_the_table_bit_for_bit(rng, isa, format, N, E):
    table = packed_table(rng, format, N, E)
    ids = rng.integers(0, N, size=9).astype(np.int32)
    residual = rng.normal(size=(9, E)).astype(np.float32)
    expected = table.unpack()[ids]
    for threads in (1, 2, 3):
        assert ops.embed(ids, table, isa=isa, threads=threads).tobytes() == expected.tobytes()
        got = ops.embed(ids, table, residual, isa=isa, threads=threads)
        assert got.tobytes() == (expected + residual).tobytes()


@pytest.mark.parametrize("dtype, numpy_type", [("F16", np.float16), ("BF16", np.uint16)])
def test_tables_straight_from_a_file(rng, dtype, numpy_type):
    halves = rng.normal(size=(6, 5)).astype(np.float16).view(np.uint16) & 0x7BFF
    table = _core.Weight.rows(halves.reshape(-1).view(np.uint8), dtype, 6, 5)
    if dtype == "F16":
        expected = halves.view(np.float16).astype(np.float32)
    else:
        expected = (halves.astype(np.uint32) << 16).view(np.float32)
    assert ops.embed([5, 0], table).tobytes() == expected[[5, 0]].tobytes()


def test_wrong_arguments_are_refused(rng):
    table = np.ones((4, 8), np.float32)
    for bad in (4, -1):
        with pytest.raises(ValueError, match="ids must lie in 0 to 3"):
            ops.embed([0, bad], table)
    with pytest.raises(ValueError, match="ids must have shape"):
        ops.embed([[0]], table)
    with pytest.raises(ValueError, match="residual must have shape"):
        ops.embed([0], table, np.ones((2, 8), np.float32))


@pytest.mark.parametrize("isa", ISAS)
def test_scale(rng, isa):
    table = rng.normal(size=(9, 40)).astype(np.float32)
    ids, residual = np.array([3, 8, 3]), rng.normal(size=(3, 40)).astype(np.float32)
    got = ops.embed(ids, table, residual, scale=1.7, isa=isa)
    assert got.tobytes() == (table[ids] * np.float32(1.7) + residual).tobytes()
