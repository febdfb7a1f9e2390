"""Beam search finds what transformers' finds, with the same scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import beam_cases
import genfast
import tiny_model
from golden_cases import BASE_LLAMA, Case, changed

STORIES = Path(__file__).resolve().parents[3] / "shared/data/models/stories260K"
GOLDENS = json.loads(beam_cases.GOLDEN.read_text()) if beam_cases.GOLDEN.is_file() else []


@pytest.fixture(scope="module", params=beam_cases.MODELS + beam_cases.STATE_MODELS)
def opened(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("beams")
    beam_cases.write(request.param, directory)
    tiny_model.write_letters(directory, beam_cases.LETTERS)
    with genfast.load(directory, kv_dtype="float32") as model:
        yield request.param, model


def agree(out, tokens, scores):
    assert [choice.token_ids for choice in out.choices] == tokens
    # Some 20 log-probabilities of about 3 each, from logits that differ by float32's rounding.
    assert [choice.score for choice in out.choices] == pytest.approx(scores, rel=2e-5)


def test_the_same_as_the_goldens(opened):
    name, model = opened
    cases = [case for case in GOLDENS if case["model"] == name]
    assert [case["settings"] for case in cases] == beam_cases.settings_of(name)
    for case in cases:
        settings = dict(case["settings"])
        ends = settings.get("stop_token_ids", [])
        if words := settings.pop("words", None):
            settings["regex"] = f"({'|'.join(words)})+"
            settings["stop_token_ids"] = ends = beam_cases.ENDS
        out = model.generate(case["prompt"], ignore_eos=True, **settings)
        agree(out, case["tokens"], case["scores"])
        for choice in out.choices:
            assert choice.finish_reason == ("stop" if choice.token_ids[-1] in ends else "length")


@pytest.mark.skipif(not STORIES.is_dir(), reason=f"no {STORIES}")
def test_a_trained_model():
    cases = json.loads((STORIES / "expected.json").read_text())["cases"]
    assert len(cases) == 6
    with genfast.load(STORIES, dtype="float32", kv_dtype="float32") as model:
        for case in cases:
            prompt = case["prompt_ids"]
            expected = case["beam4_ids"][len(prompt) :]
            out = model.generate(prompt, num_beams=4, max_tokens=len(expected), ignore_eos=True)
            assert out.token_ids == expected


@pytest.mark.parity
def test_random_models_and_settings(rng, tmp_path):
    pytest.importorskip("transformers")
    for i in range(4):
        vocabulary = int(rng.integers(20, 90))
        config = changed(BASE_LLAMA, {"vocab_size": vocabulary})
        case = Case(f"beams-{i}", config, int(rng.integers(1 << 30)))
        theirs = beam_cases.load_transformers(case.write(tmp_path / str(i)))
        with genfast.load(tmp_path / str(i), kv_dtype="float32") as model:
            for _ in range(5):
                beams = int(rng.integers(2, 9))
                ends = rng.choice(vocabulary, int(rng.integers(0, 9)), replace=False)
                settings = {
                    "num_beams": beams,
                    "n": int(rng.integers(1, beams + 1)),
                    "max_tokens": int(rng.integers(1, 30)),
                    "length_penalty": float(rng.choice([-1, 0, 0.6, 1, 2])),
                    "early_stopping": [False, True, "never"][rng.integers(3)],
                }
                if len(ends):
                    settings["stop_token_ids"] = ends.tolist()
                ids = rng.integers(0, vocabulary, int(rng.integers(1, 30))).tolist()
                print(i, settings, ids)
                agree(
                    model.generate(ids, **settings),
                    *beam_cases.transformers_beams(theirs, ids, settings),
                )
