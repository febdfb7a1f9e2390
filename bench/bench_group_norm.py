"""group_norm and silu: floor bytes = x read twice and written once."""

import numpy as np
import pytest
from image_program import one_op


@pytest.mark.parametrize("C, side", [(320, 64), (1280, 16), (128, 256)])
def test_group_norm(benchmark, rng, report, C, side):
    x = rng.normal(size=(side * side, C)).astype(np.float32)
    weight, bias = rng.normal(size=(2, C)).astype(np.float32)

    def record(g, x):
        return g.group_norm(x, weight, bias, 32, 1e-5, activation="silu")

    out = benchmark(one_op(record, (1, C, side, side)), x)
    expected = one_op(record, (1, C, side, side), isa="ref")(x)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-4)
    report(bytes=3 * x.nbytes)
