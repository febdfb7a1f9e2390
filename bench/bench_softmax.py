"""softmax: floor bytes = x read and written."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T, V", [(1, 128256), (512, 512)])
@pytest.mark.parametrize("log", [False, True])
def test_softmax(benchmark, rng, report, T, V, log):
    x = rng.normal(size=(T, V)).astype(np.float32) * 4
    out = benchmark(ops.softmax, x, log)
    np.testing.assert_allclose(out, ops.softmax(x, log, isa="ref"), rtol=1e-4, atol=1e-6)
    report(bytes=x.nbytes * 2)
