"""head_matmul: floor bytes = every head's matrix, read once."""

import numpy as np
import pytest

from genfast import ops
from genfast._core import Weight


@pytest.mark.parametrize("T", [1, 128])
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_head_matmul(benchmark, rng, report, format, T, H=128, N=512, K=128):
    """DeepSeek-V3's queries, absorbed."""
    weights = []
    for _ in range(H):
        flat = (rng.standard_normal(N * K, np.float32) * K**-0.5).view(np.uint8)
        weights.append(Weight(format, [(flat, "F32", N, K, False)], 0, False))
    x = rng.standard_normal((T, H * K), np.float32)
    out = benchmark(ops.head_matmul, x, weights)
    last = ops.matmul(np.ascontiguousarray(x[-1:, -K:]), weights[-1])
    assert out[-1:, -N:].tobytes() == last.tobytes()
    peak = {"bf16": "dot_bf16", "int8": "dot_int8"}[format]
    report(bytes=sum(w.nbytes for w in weights), flops=2 * T * H * N * K, peak=peak)
