"""embed: floor bytes = the rows read and written."""

import numpy as np
import pytest

from genfast import _core, ops


@pytest.mark.parametrize("T", [1, 512])
@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_embed(benchmark, rng, report, format, T):
    N, E = 49152, 576
    table = rng.normal(size=(N, E)).astype(np.float32)
    weight = _core.Weight(format, [(table.reshape(-1).view(np.uint8), "F32", N, E, False)])
    ids = rng.integers(0, N, T)
    out = benchmark(ops.embed, ids, weight)
    # bf16 keeps 8 significant bits. int8 rounds rotated numbers to steps of a 127th of the row's
    # largest; turned back, 64 of them make an error of step / √12 on average, rarely 6 times that.
    np.testing.assert_allclose(out, table[ids], rtol=0, atol=2 * np.abs(table).max() / 127)
    report(bytes=T * E * 5)
