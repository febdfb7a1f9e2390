"""conv_transpose2d 4×4, stride 2, on the shapes of DCGAN at 64 pixels: 2 · pixels · 16 N · C."""

import numpy as np
import pytest
from image_program import one_op, packed

from genfast.weights import PackedWeight


@pytest.mark.parametrize("C, N, side", [(512, 256, 8), (256, 128, 16), (128, 64, 32)])
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_conv_transpose2d(benchmark, rng, report, format, C, N, side):
    weight = PackedWeight("w", packed(rng, 16 * N, C, format))
    x = rng.normal(size=(side * side, C)).astype(np.float32)

    def record(g, x):
        return g.conv_transpose2d(x, weight)

    out = benchmark(one_op(record, (1, C, side, side)), x)
    expected = one_op(record, (1, C, side, side), isa="ref")(x)
    np.testing.assert_allclose(out, expected, rtol=0, atol=0.02 * np.abs(expected).max())
    peak = "dot_bf16" if format == "bf16" else "dot_int8"
    report(flops=2 * side * side * 16 * N * C, peak=peak)
