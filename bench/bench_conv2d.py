"""conv2d 3×3 on the shapes of Stable Diffusion 1.5: 2 · pixels · N · 9 C operations.

Four in a row, where one's output fits the next: the copies of a program's input and output, which
a network makes once, are not a convolution's.
"""

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

    count = 4 if C == N else 1

    def record(g, x):
        for _ in range(count):
            x = g.conv2d(x, weight)
        return x

    out = benchmark(one_op(record, (1, C, side, side)), x)
    # The rows at the top of the same image against the reference, which sees one more a layer.
    top = min(count + 2, side)
    expected = one_op(record, (1, C, top, side), isa="ref")(x[: top * side])
    rows = (top - count) * side
    scale = np.abs(expected).max()
    np.testing.assert_allclose(out[:rows], expected[:rows], rtol=0, atol=0.02 * scale)
    peak = "dot_bf16" if format == "bf16" else "dot_int8"
    report(flops=count * 2 * side * side * N * 9 * C, peak=peak)
