"""Classifier-free guidance against transformers: the same greedy tokens; and with state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import beam_cases
import genfast
import guided

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens/guidance.json").read_text())


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    opened = {}
    for name in {case["model"] for case in GOLDEN}:
        directory = beam_cases.write(name, tmp_path_factory.mktemp(name))
        opened[name] = genfast.load(directory, dtype="float32", kv_dtype="float32")
    yield opened
    for model in opened.values():
        model.close()


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['model']} {case['options']}"[:48])
def test_like_transformers(models, case):
    options = {"max_tokens": 20, "ignore_eos": True, "temperature": 0, **case["options"]}
    model, ids = models[case["model"]], case["prompt"]
    assert model.generate(ids, **options).token_ids == case["tokens"]


@pytest.mark.parametrize("name", beam_cases.STATE_MODELS)
def test_with_recurrent_state(name, tmp_path, rng):
    with genfast.load(beam_cases.write(name, tmp_path)) as model:
        for lengths in ((1, 40), (33, 5), (64, 64)):
            ids, negative = (rng.integers(0, 60, n).tolist() for n in lengths)
            guided.check(model, ids, negative, scale=1.7, tokens=8)
