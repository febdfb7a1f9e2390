"""modulate and add: floor bytes = what they read and write, from the cache."""

import numpy as np
import pytest
from image_program import one_op


@pytest.mark.parametrize("T, C", [(4096, 320), (256, 1152)])
def test_modulate(benchmark, rng, report, T, C):
    x, residual = rng.normal(size=(2, T, C)).astype(np.float32)
    conditions = rng.normal(size=(1, 2 * C)).astype(np.float32)

    def record(g, x, conditions, residual):
        return g.modulate(x, conditions, scale=0, shift=C, residual=residual)

    out = benchmark(one_op(record, x.shape, conditions.shape, x.shape), x, conditions, residual)
    expected = x * (1 + conditions[:, :C]) + conditions[:, C:] + residual
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
    report(bytes=3 * x.nbytes, cached=True)


@pytest.mark.parametrize("T, C, R", [(4096, 320, 4096), (512, 1152, 256)])
def test_add(benchmark, rng, report, T, C, R):
    x = rng.normal(size=(T, C)).astype(np.float32)
    y = rng.normal(size=(R, C)).astype(np.float32)
    out = benchmark(one_op(lambda g, x, y: g.add(x, y), x.shape, y.shape), x, y)
    assert (out == x + np.tile(y, (T // R, 1))).all()
    report(bytes=3 * x.nbytes, cached=True)
