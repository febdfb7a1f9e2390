"""llama against transformers: grouped heads, biases, ties, each rope scaling in both spellings."""

from __future__ import annotations

import numpy as np
import pytest

import golden_checks
import numpy_model
import tolerance
from golden_cases import CASES, LLAMA_CASES

# Plain rope and differing in what the matmuls see.
ROUNDED = [
    "llama-base",
    "llama-tied",
    "llama-biases",
    "llama-head-dim",
    "llama-one-kv-head",
    "llama-odd-sizes",
]


@pytest.mark.parametrize("case", LLAMA_CASES, ids=lambda c: c.name)
def test_logits(case, tmp_path):
    golden_checks.check_logits(case, tmp_path)


@pytest.mark.parametrize("case", LLAMA_CASES, ids=lambda c: c.name)
def test_greedy(case, tmp_path):
    golden_checks.check_greedy(case, tmp_path)


@pytest.mark.parametrize("rounding", ["bfloat16", "int8", "int4", "fp8"])
@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_weights(name, rounding, rng, tmp_path):
    golden_checks.check_rounded(CASES[name], tmp_path, rng, rounding, "float32")


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_cache(name, rng, tmp_path):
    golden_checks.check_rounded(CASES[name], tmp_path, rng, "bfloat16", "bfloat16")


@pytest.mark.parametrize("name", ROUNDED)
def test_the_numpy_model_is_llama(name):
    """The model the rounded bounds come from agrees with transformers."""
    case = CASES[name]
    expected = golden_checks.golden(case)
    got = numpy_model.logits(case.config, case.tensors(), expected["ids_2"])
    apart = tolerance.relative_distance(got, expected["logits_2"])
    assert np.max(apart) <= tolerance.FLOAT32_LOGITS
