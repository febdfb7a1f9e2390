"""route: floor bytes = the logits read, the routes written."""

import numpy as np
import pytest

from genfast import ops


@pytest.mark.parametrize("T", [1, 512])
def test_route(benchmark, rng, report, T):
    """The router of Qwen3-30B-A3B: 8 of 128 experts."""
    logits = rng.normal(size=(T, 128)).astype(np.float32)
    out = benchmark(ops.route, logits, 8, renormalise=True)
    best = np.sort(np.argsort(-logits[0])[:8])
    assert out[0, :8].tolist() == best.tolist()
    report(bytes=logits.nbytes + out.nbytes)
