"""upsample, pixel_shuffle, concat: floor bytes = what they read and write."""

import numpy as np
import pytest
from image_program import one_op


@pytest.mark.parametrize("C, side", [(1280, 16), (512, 64)])
def test_upsample(benchmark, rng, report, C, side):
    x = rng.normal(size=(side * side, C)).astype(np.float32)
    out = benchmark(one_op(lambda g, x: g.upsample(x), (1, C, side, side)), x)
    image = x.reshape(side, side, C).repeat(2, 0).repeat(2, 1)
    assert (out == image.reshape(out.shape)).all()
    report(bytes=5 * x.nbytes)


@pytest.mark.parametrize("C, side", [(64, 64)])
def test_pixel_shuffle(benchmark, rng, report, C, side):
    x = rng.normal(size=(side * side, 4 * C)).astype(np.float32)
    out = benchmark(one_op(lambda g, x: g.pixel_shuffle(x), (1, 4 * C, side, side)), x)
    parts = x.reshape(side, side, C, 2, 2).transpose(0, 3, 1, 4, 2)
    assert (out == parts.reshape(out.shape)).all()
    report(bytes=2 * x.nbytes)


@pytest.mark.parametrize("T, C, D", [(4096, 640, 320)])
def test_concat(benchmark, rng, report, T, C, D):
    x, y = (rng.normal(size=(T, cols)).astype(np.float32) for cols in (C, D))
    out = benchmark(one_op(lambda g, x, y: g.concat(x, y), x.shape, y.shape), x, y)
    assert (out == np.concatenate([x, y], 1)).all()
    report(bytes=2 * out.nbytes)
