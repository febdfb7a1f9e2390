"""barrier: where a program's threads meet between two instructions. Floor: none; the goal is 100 ns
for two threads, a cache line's way from one core to the other and back."""

import numpy as np
import pytest

from genfast import _core


@pytest.mark.parametrize("threads", [1, 2])
def test_barrier(benchmark, threads):
    meetings = 10_000
    data = np.zeros(256, np.int32)

    def nanoseconds():
        seconds, count, _ = _core.ops.probe("barrier", data, meetings, threads=threads)
        assert count == threads * meetings
        return seconds / meetings * 1e9

    times = []
    benchmark(lambda: times.append(nanoseconds()))
    benchmark.extra_info["ns"] = round(float(np.median(times)), 1)
