"""Sink logits: a score more in every softmax, whose value is zero (gpt-oss)."""

from __future__ import annotations

import numpy as np
import pytest

from genfast import ops
from test_attention import ISAS, KV, definition, random_qkv, run


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kv_dtype", KV)
@pytest.mark.parametrize("options", [{}, {"window": 50}, {"window": 50, "sinks": 5, "cap": 2.0}])
def test_sink_logits(rng, isa, kv_dtype, options):
    """Far below the scores, among them and far above, where nearly nothing is left of values."""
    q, k, v = random_qkv(rng, 20, 6, 2, 40, 600)
    sink_logits = np.array([-300, -2, 0, 3, 9, 30], np.float32)
    options = {"kv_dtype": kv_dtype, "sink_logits": sink_logits, **options}
    expected, bound = definition(q, k, v, 600, **options)
    got = run(q, k, v, 600, isa=isa, **options)
    assert (np.abs(got - expected) <= bound).all()
    without = run(q, k, v, 600, isa=isa, **(options | {"sink_logits": None}))
    assert (np.abs(got[:, 4]) < np.abs(without[:, 4])).all()
    for chunk, threads in ((1, 1), (7, 2), (0, 3)):
        again = run(q, k, v, 600, isa=isa, chunk=chunk, threads=threads, **options)
        assert again.tobytes() == got.tobytes()


def test_one_for_each_head(rng):
    q, k, v = random_qkv(rng, 4, 4, 2, 8)
    with pytest.raises(ValueError, match=r"sink_logits must have shape \[4\]"):
        ops.attention(q, k, v, sink_logits=np.zeros(3, np.float32))
