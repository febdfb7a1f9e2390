"""conv2d 3×3 on the shapes of Stable Diffusion 1.5: 2 · pixels · N · 9 C operations."""

import numpy as np
import pytest
from image_program import one_op, packed

from genfast.weights import PackedWeight

SHAPES = [(320, 320, 64), (640, 640, 32), (1280, 1280, 16), (1280, 1280, 8), (2560, 1280, 16)]


@pytest.mark.parametrize("C, N, side", SHAPES)
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_conv2d(benchmark, rng, report, format, C, N, side):
    weight = PackedWeight("w", packed(rng, N, 9 * C, format))
    x = rng.normal(size=(side * side, C)).astype(np.float32)

    def record(g, x):
        return g.conv2d(x, weight)

    out = benchmark(one_op(record, (1, C, side, side)), x)
    # The two rows at the top of the same image against the reference, which sees a third one.
    expected = one_op(record, (1, C, 3, side), isa="ref")(x[: 3 * side])
    rows = 2 * side
    scale = np.abs(expected).max()
    np.testing.assert_allclose(out[:rows], expected[:rows], rtol=0, atol=0.02 * scale)
    peak = "dot_bf16" if format == "bf16" else "dot_int8"
    report(flops=2 * side * side * N * 9 * C, peak=peak)
