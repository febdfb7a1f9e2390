"""rope: floor bytes = x read and written."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T, heads, D", [(1, 40, 64), (512, 12, 64), (512, 40, 64)])
def test_rope(benchmark, rng, report, T, heads, D):
    x = rng.normal(size=(T, heads * D)).astype(np.float32)
    inv_freq = (10000.0 ** -(np.arange(0, D, 2) / D)).astype(np.float32)
    table = ops.rope_table(np.arange(T, dtype=np.int32), inv_freq)
    out = benchmark(ops.rope, x, table, D)
    np.testing.assert_allclose(out, ops.rope(x, table, D, isa="ref"), rtol=1e-5, atol=1e-5)
    report(bytes=x.nbytes * 2)
