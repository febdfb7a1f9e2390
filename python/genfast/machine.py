"""What this machine can do at best, measured: the ceilings that benches compare with."""

from __future__ import annotations

import statistics

import numpy as np

from genfast import _core

_BUFFER_BYTES = 256 << 20  # well beyond the last-level cache
_ROUNDS = 2_000_000


def measure(threads: int = 0, isa: str = "", repeats: int = 7) -> dict[str, float]:
    """Medians of interleaved repeats, all threads together; seven take about a second.

    read_gb_s: reading memory. fp32_gflops, bf16_gflops, int8_gops: multiplications and additions by
    the instructions that matmul uses (bf16 without its own instruction is float32's).
    """
    data = np.ones(_BUFFER_BYTES // 4, np.int32)
    rates: dict[str, list[float]] = {kind: [] for kind in ("read", *_PEAKS)}
    for _ in range(repeats):
        seconds, _, _ = _core.ops.probe("read", data, isa=isa, threads=threads)
        rates["read"].append(data.nbytes / seconds / 1e9)
        for kind in _PEAKS:
            args = (kind, data[:256], _ROUNDS)
            seconds, operations, _ = _core.ops.probe(*args, isa=isa, threads=threads)
            rates[kind].append(operations / seconds / 1e9)
    result = {"read_gb_s": statistics.median(rates["read"])}
    return result | {name: statistics.median(rates[kind]) for kind, name in _PEAKS.items()}


_PEAKS = {"fma_f32": "fp32_gflops", "dot_bf16": "bf16_gflops", "dot_int8": "int8_gops"}
