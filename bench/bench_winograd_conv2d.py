"""winograd_conv2d beside conv2d, on the shapes of Stable Diffusion 1.5. The operations counted are
conv2d's, 2 · pixels · N · 9 C, so that `of ceiling` may pass 1: 2.25 is what Winograd could do."""

import numpy as np
import pytest
from image_program import one_op, packed

from genfast.weights import PackedWeight

SHAPES = [(320, 320, 64), (640, 640, 32), (1280, 1280, 16)]


@pytest.mark.parametrize("C, N, side", SHAPES)
@pytest.mark.parametrize("format", ["f32", "bf16", "int8"])
def test_winograd_conv2d(benchmark, rng, report, format, C, N, side):
    weight = PackedWeight("w", packed(rng, 16 * N, C, format))
    x = rng.normal(size=(side * side, C)).astype(np.float32)

    def record(g, x):
        return g.winograd_conv2d(x, weight, N)

    out = benchmark(one_op(record, (1, C, side, side)), x)
    # The two rows at the top of the same image against the reference, which sees two more.
    expected = one_op(record, (1, C, 4, side), isa="ref")(x[: 4 * side])
    rows = 2 * side
    scale = np.abs(expected).max()
    np.testing.assert_allclose(out[:rows], expected[:rows], rtol=0, atol=0.02 * scale)
    peak = {"f32": "fma_f32", "bf16": "dot_bf16", "int8": "dot_int8"}[format]
    report(flops=2 * side * side * N * 9 * C, peak=peak)
