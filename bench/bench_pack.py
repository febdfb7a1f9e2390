"""pack: floor bytes = the tensor read, the panels written."""

import numpy as np
import pytest

from genfast._core import Weight


@pytest.mark.parametrize("format", ["f32", "bf16", "int8", "int4", "fp8"])
def test_pack(benchmark, rng, report, format):
    """The gate and up matrices of the 1B shape, stored as bfloat16."""
    F, E = 8192, 2048
    w = rng.normal(size=(2 * F, E)).astype(np.float32).view(np.uint32) >> 16
    stored = w.astype(np.uint16)
    half = stored.size  # bytes of each of the two: two bytes a number
    parts = stored.reshape(-1).view(np.uint8)
    sources = [(parts[:half], "BF16", F, E, False), (parts[half:], "BF16", F, E, False)]
    weight = benchmark(Weight, format, sources, 0, True)
    reference = [(s[0][: 64 * E * 2], "BF16", 64, E, False) for s in sources]
    few = Weight(format, reference, 1, True, "ref").unpack()
    got = weight.unpack()
    assert got[:64].tobytes() == few[:64].tobytes()
    assert got[F : F + 64].tobytes() == few[64:].tobytes()
    report(bytes=stored.nbytes + weight.nbytes)
