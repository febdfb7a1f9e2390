"""Shared by the microbenches: seeded random inputs, and rates beside the times.

A shared machine's memory and clock change from minute to minute, so every row is held against a
ceiling that is measured right after it: the time that its bytes and operations need at best (the
larger of bytes / read bandwidth and operations / instruction peak) over its median time.
"""

from __future__ import annotations

import os
import secrets
import statistics

import numpy as np
import pytest

from genfast import _core

_COLUMNS = ("GB/s", "GFLOP/s", "of ceiling")
_rows: list[tuple[str, float, dict]] = []


@pytest.fixture
def rng():
    seed = int(os.environ.get("GENFAST_SEED", secrets.randbits(32)))
    print(f"GENFAST_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def rate():
    """``rate(kind, threads, bytes)``: what the machine does a second just now.

    kind: "read" (bytes; of an array of that size, if given, instead of one beyond the caches),
    "fma_f32", "dot_bf16" or "dot_int8" (operations).
    """
    data = np.ones(64 << 20, np.int32)  # 256 MB

    def measure(kind: str, threads: int = 0, bytes: int = 0) -> float:
        part = data[: bytes // 1024 * 256] if bytes else data
        work = (kind, part) if kind == "read" else (kind, data[:256], 200_000)
        results = [_core.ops.probe(*work, threads=threads)[:2] for _ in range(21 if bytes else 5)]
        # the read probe counts words
        return statistics.median((4 if kind == "read" else 1) * n / s for s, n in results)

    return measure


@pytest.fixture
def report(benchmark, request, rate):
    """``report(bytes=…, flops=…)`` adds the median's GB/s and GFLOP/s and the part of the ceiling.

    peak: the instruction that sets the ceiling of flops. cached: the bytes come from the cache, and
    so do those of the ceiling. threads: of the call (0: the default).
    """

    def add(
        bytes: float = 0,
        flops: float = 0,
        peak: str = "fma_f32",
        cached: bool = False,
        threads: int = 0,
    ) -> None:
        if benchmark.disabled or not benchmark.stats:
            return
        median = benchmark.stats.stats.median
        floor = 0.0
        if bytes:
            benchmark.extra_info["GB/s"] = round(bytes / median / 1e9, 2)
            floor = bytes / rate("read", threads, int(bytes) if cached else 0)
        if flops:
            benchmark.extra_info["GFLOP/s"] = round(flops / median / 1e9, 1)
            floor = max(floor, flops / rate(peak, threads))
        benchmark.extra_info["of ceiling"] = round(floor / median, 3)
        _rows.append((request.node.name, median, dict(benchmark.extra_info)))

    return add


def pytest_terminal_summary(terminalreporter):
    if not _rows:
        return
    width = max(len(name) for name, _, _ in _rows)
    terminalreporter.section("rates")
    line = f"{'':{width}} {'µs':>10}" + "".join(f"{column:>12}" for column in _COLUMNS)
    terminalreporter.write_line(line)
    for name, median, info in _rows:
        cells = "".join(f"{info.get(column, ''):>12}" for column in _COLUMNS)
        terminalreporter.write_line(f"{name:{width}} {median * 1e6:>10.1f}{cells}")
