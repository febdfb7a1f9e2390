"""depthwise_conv2d on shapes of StyleGAN2's filters: floor bytes = what it reads and writes."""

import numpy as np
import pytest
from image_program import one_op


@pytest.mark.parametrize("C, side, up", [(512, 64, 1), (128, 256, 1), (3, 256, 2)])
def test_depthwise_conv2d(benchmark, rng, report, C, side, up):
    x = rng.normal(size=(side * side, C)).astype(np.float32)
    taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64

    def record(g, x):
        return g.depthwise_conv2d(x, taps, up=up, padding=(2, 2, 1, 1))

    out = benchmark(one_op(record, (1, C, side, side)), x)
    expected = one_op(record, (1, C, side, side), isa="ref")(x)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-5)
    report(bytes=x.nbytes + out.nbytes)
