import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T, E", [(1, 2048), (512, 2048), (512, 576)])
def test_rms_norm(benchmark, rng, report, T, E):
    x = rng.normal(size=(T, E)).astype(np.float32)
    weight = rng.normal(size=E).astype(np.float32)
    out = benchmark(ops.rms_norm, x, weight)
    np.testing.assert_allclose(out, ops.rms_norm(x, weight, isa="ref"), rtol=1e-4, atol=1e-5)
    report(bytes=x.nbytes * 2)
