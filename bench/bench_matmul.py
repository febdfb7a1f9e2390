"""matmul on the shapes of 135M and 1B models.

Floors: M = 1 reads every weight once (bytes / read bandwidth); M = 512 does 2 M N K operations
(/ instruction peak). See bench_probe.py for both.
"""

import numpy as np
import pytest

from genfast import _core, ops

SHAPES = [(960, 576), (3072, 576), (576, 1536), (3072, 2048), (16384, 2048), (2048, 8192)]


def packed(rng, N, K, format):
    weight = rng.normal(size=(N, K)).astype(np.float32) * 0.02
    return _core.Weight(format, [(weight.reshape(-1).view(np.uint8), "F32", N, K, False)])


@pytest.mark.parametrize("M", [1, 4, 8, 512])
@pytest.mark.parametrize("N, K", SHAPES)
@pytest.mark.parametrize("format", ["bf16", "fp8", "int8", "int4"])
def test_matmul(benchmark, rng, report, format, N, K, M):
    weight = packed(rng, N, K, format)
    x = rng.normal(size=(M, K)).astype(np.float32)
    out = benchmark(ops.matmul, x, weight)
    # One row against the reference, which rounds like it but sums in double.
    expected = ops.matmul(x[:1], weight, isa="ref")
    scale = np.abs(expected).max()
    np.testing.assert_allclose(out[:1], expected, rtol=0, atol=0.02 * scale)
    assert out.shape == (M, N)
    peak = "dot_bf16" if format in ("bf16", "fp8") else "dot_int8"
    report(bytes=weight.nbytes, flops=2 * M * N * K, peak=peak)
