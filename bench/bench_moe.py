"""moe: floor bytes = the matrices of the experts that are used, read once."""

import numpy as np
import pytest

from genfast import ops
from genfast._core import Weight


@pytest.mark.parametrize("T", [1, 8, 128])
@pytest.mark.parametrize("format", ["int8", "int4"])
def test_moe(benchmark, rng, report, format, T):
    """A layer of Qwen3-30B-A3B: 8 of 128 experts, E 2048, F 768."""
    E, F, X, k = 2048, 768, 128, 8

    def packed(rows, cols, gated):
        flat = (rng.standard_normal(rows * cols, np.float32) * cols**-0.5).view(np.uint8)
        half = [(part, "F32", rows // 2, cols, False) for part in np.split(flat, 2)]
        return Weight(format, half if gated else [(flat, "F32", rows, cols, False)], 0, gated)

    experts = [(packed(2 * F, E, True), packed(E, F, False)) for _ in range(X)]
    x = rng.normal(size=(T, E)).astype(np.float32)
    routes = ops.route(rng.normal(size=(T, X)).astype(np.float32), k, renormalise=True)
    out = benchmark(ops.moe, x, routes, experts)
    alone = ops.moe(x[:1], routes[:1], experts, threads=1)
    assert out[:1].tobytes() == alone.tobytes()
    used = np.unique(routes[:, :k]).astype(int)
    moved = sum(w.nbytes for e in used for w in experts[e])
    report(bytes=moved, flops=2 * T * k * 3 * E * F, peak="int8")
