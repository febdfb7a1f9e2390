"""tensor_parallel=2: what two processes compute together, against transformers."""

from __future__ import annotations

import pytest

import golden_checks
from golden_cases import CASES

PAIR = {"tensor_parallel": 2, "threads": 1, "kv_cache_bytes": 1 << 24}


# What is cut differently: biases, heads of their own size, a head that is the embedding too.
@pytest.mark.parametrize("name", ["base", "biases", "head-dim", "tied", "dynamic"])
def test_logits(name, tmp_path):
    golden_checks.check_logits(CASES[f"llama-{name}"], tmp_path, **PAIR)


@pytest.mark.parametrize("rounding", ["bfloat16", "int8", "int4"])
def test_rounded_weights(rounding, rng, tmp_path):
    golden_checks.check_rounded(CASES["llama-base"], tmp_path, rng, rounding, "float32", **PAIR)
