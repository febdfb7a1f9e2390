"""gpt2 against transformers: ties, activations, attention scalings, shards, old names."""

from __future__ import annotations

import numpy as np
import pytest

import golden_checks
import numpy_model
import tolerance
from golden_cases import CASES, GPT2_CASES

ROUNDED = ["gpt2-base", "gpt2-untied", "gpt2-inner", "gpt2-odd-sizes"]


@pytest.mark.parametrize("case", GPT2_CASES, ids=lambda c: c.name)
def test_logits(case, tmp_path):
    golden_checks.check_logits(case, tmp_path)


@pytest.mark.parametrize("case", GPT2_CASES, ids=lambda c: c.name)
def test_greedy(case, tmp_path):
    golden_checks.check_greedy(case, tmp_path)


@pytest.mark.parametrize("rounding", ["bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_weights(name, rounding, rng, tmp_path):
    golden_checks.check_rounded(CASES[name], tmp_path, rng, rounding, "float32")


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_cache(name, rng, tmp_path):
    golden_checks.check_rounded(CASES[name], tmp_path, rng, "bfloat16", "bfloat16")


@pytest.mark.parametrize("name", ROUNDED)
def test_the_numpy_model_is_gpt2(name):
    """The model the rounded bounds come from agrees with transformers."""
    case = CASES[name]
    expected = golden_checks.golden(case)
    got = numpy_model.logits(case.config, case.tensors(), expected["ids_2"])
    apart = tolerance.relative_distance(got, expected["logits_2"])
    assert np.max(apart) <= tolerance.FLOAT32_LOGITS


def test_the_last_token_needs_no_position(tmp_path):
    """n_positions bounds what is fed; the last new token is not."""
    case = CASES["gpt2-base"]
    n = case.config["n_positions"]
    prompt = golden_checks.golden(case)["ids_1"].tolist()
    with golden_checks.opened(case, tmp_path) as model:
        out = model.generate(prompt, max_tokens=n - len(prompt) + 1, temperature=0)
        assert len(out.token_ids) == n - len(prompt) + 1
