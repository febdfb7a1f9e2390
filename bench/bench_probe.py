"""The machine's ceilings themselves; floor: none, these are what the others stand against."""

import numpy as np
import pytest

from genfast import _core


def test_read(benchmark, report):
    data = np.ones(64 << 20, np.int32)  # 256 MB, beyond the caches
    _, words, results = benchmark(_core.ops.probe, "read", data)
    assert words == data.size == sum(results)
    report(bytes=data.nbytes)


@pytest.mark.parametrize("kind", ["fma_f32", "dot_bf16", "dot_int8"])
def test_peak(benchmark, report, kind):
    data = np.zeros(256, np.int32)
    _, operations, _ = benchmark(_core.ops.probe, kind, data, 200_000)
    assert operations > 0
    report(flops=operations)
