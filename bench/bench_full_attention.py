"""full_attention on the shapes of Stable Diffusion 1.5, also to a text: 4 · Tq · Tk · H D."""

import numpy as np
import pytest
from image_program import one_op


@pytest.mark.parametrize(
    "Tq, Tk, H, D",
    [(4096, 4096, 8, 40), (1024, 1024, 8, 80), (256, 256, 8, 160), (4096, 77, 8, 40)],
)
def test_full_attention(benchmark, rng, report, Tq, Tk, H, D):
    q = rng.normal(size=(Tq, H * D)).astype(np.float32)
    k, v = rng.normal(size=(2, Tk, H * D)).astype(np.float32)

    def record(g, q, k, v):
        return g.full_attention(q, k, v, heads=H, items=1, bfloat16=True)

    out = benchmark(one_op(record, q.shape, k.shape, v.shape), q, k, v)
    expected = one_op(record, (8, H * D), k.shape, v.shape, isa="ref")(q[:8], k, v)
    np.testing.assert_allclose(out[:8], expected, rtol=0, atol=0.02 * np.abs(expected).max())
    report(flops=4 * Tq * Tk * H * D, peak="dot_bf16")
