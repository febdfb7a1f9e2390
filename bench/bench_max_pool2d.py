"""max_pool2d: floor bytes = what it reads and writes."""

import numpy as np
import pytest
from image_program import one_op


@pytest.mark.parametrize("C, side", [(64, 64), (256, 32)])
def test_max_pool2d(benchmark, rng, report, C, side):
    x = rng.normal(size=(side * side, C)).astype(np.float32)
    out = benchmark(one_op(lambda g, x: g.max_pool2d(x), (1, C, side, side)), x)
    expected = x.reshape(side // 2, 2, side // 2, 2, C).max((1, 3)).reshape(out.shape)
    assert out.tobytes() == expected.tobytes()
    report(bytes=x.nbytes + out.nbytes)
