"""Shared by the microbenches: seeded random inputs, and rates beside the times."""

from __future__ import annotations

import os
import secrets

import numpy as np
import pytest


@pytest.fixture
def rng():
    seed = int(os.environ.get("GENFAST_SEED", secrets.randbits(32)))
    print(f"GENFAST_SEED={seed}")
    return np.random.default_rng(seed)


@pytest.fixture
def report(benchmark):
    """``report(bytes=…, flops=…)`` adds GB/s and GFLOP/s, from the median, to the line."""

    def add(bytes: float = 0, flops: float = 0) -> None:
        if benchmark.disabled or not benchmark.stats:
            return
        median = benchmark.stats.stats.median
        if bytes:
            benchmark.extra_info["GB/s"] = round(bytes / median / 1e9, 2)
        if flops:
            benchmark.extra_info["GFLOP/s"] = round(flops / median / 1e9, 1)

    return add
