"""logprobs over a vocabulary of 128k; floor bytes = the logits read once."""

import numpy as np
import pytest

from genfast import ops

V = 128256


@pytest.mark.parametrize("top_n", [0, 20])
def test_logprobs(benchmark, rng, report, top_n):
    logits = rng.normal(size=V).astype(np.float32) * 3
    value, ids, _ = benchmark(ops.logprobs, logits, 7, top_n)
    wide = logits.astype(np.float64)
    expected = wide[7] - wide.max() - np.log(np.exp(wide - wide.max()).sum())
    assert abs(value - expected) < 1e-5
    assert list(ids) == np.argsort(-wide, kind="stable")[:top_n].tolist()
    report(bytes=logits.nbytes)
