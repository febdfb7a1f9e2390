"""bound: floor bytes = every number read and written once."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("soft", [False, True])
def test_bound(benchmark, rng, report, soft):
    x = (rng.normal(size=(16, 128256)) * 20).astype(np.float32)  # logits of sixteen rows
    out = benchmark(ops.bound, x, 30.0, soft)
    expected = 30 * np.tanh(x[0] / 30) if soft else np.clip(x[0], -30, 30)
    np.testing.assert_allclose(out[0], expected, rtol=1e-5)
    report(bytes=2 * x.nbytes)
