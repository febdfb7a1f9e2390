"""The sampler chain against transformers' processors and llama.cpp's samplers: same scores."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import genfast
from genfast import _core, ops
from genfast.native_sampling import native_sampling
from genfast.sampling import Sampling

CASES = json.loads((Path(__file__).parents[1] / "goldens/chain.json").read_text())
ISAS = genfast.cpu_info()["isas"]
FILTERS = ("top_n_sigma", "top_k", "top_p", "min_p", "typical_p")


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(bytes.fromhex(text), "<f4")


def ours(settings: dict, prompt: list, output: list, logits: np.ndarray, isa: str) -> np.ndarray:
    """The logits after the whole chain of these keywords of `generate`."""
    temperature = settings.get("temperature", 0)
    known = {k: v for k, v in settings.items() if k not in ("max_bits", "xtc_threshold")}
    sampling = Sampling.make({}, {"max_tokens": 4, **known})
    native = native_sampling(
        sampling, seed=1, stream=0, stop_ids=[0], prompt_tokens=len(prompt), tokenizer=None
    )
    sampler = _core.Sampler(native, prompt)
    for token in output:
        sampler.accept(token)
    scores = sampler.edit(logits)
    filters = {name: getattr(sampling, name) for name in FILTERS}
    filters |= {k: v for k, v in settings.items() if k in ("max_bits", "xtc_threshold")}
    if (
        temperature
        or len(known) < len(settings)
        or "typical_p" in settings
        or "top_n_sigma" in known
    ):
        scores, _, _ = ops.truncate(scores, temperature=temperature or 1.0, isa=isa, **filters)
    return scores / np.float32(temperature or 1.0)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['from']} {c['settings']}")
def test_same_scores_as_the_peer(isa, case):
    expected, logits = numbers(case["scores"]), numbers(case["logits"])
    got = ours(case["settings"], case["prompt"], case["output"], logits, isa)
    assert (
        np.flatnonzero(np.isneginf(got)).tolist() == np.flatnonzero(np.isneginf(expected)).tolist()
    )
    kept = np.isfinite(expected)
    assert kept.any()
    np.testing.assert_allclose(got[kept], expected[kept], rtol=1e-6)


def test_the_goldens_drop_and_change_something():
    for settings in {json.dumps(case["settings"]) for case in CASES}:
        cases = [case for case in CASES if json.dumps(case["settings"]) == settings]
        assert any(case["scores"] != case["logits"] for case in cases), settings


@pytest.mark.parity
def test_random_settings_against_transformers(rng):
    """Fresh settings, put together by transformers' own `generate`."""
    pytest.importorskip("transformers")
    tool = Path(__file__).parents[2] / "tools/make_chain_goldens.py"
    spec = importlib.util.spec_from_file_location(tool.stem, tool)
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    for _ in range(60):
        chances = {
            "repetition_penalty": float(rng.uniform(0.5, 2)),
            "no_repeat_ngram_size": int(rng.integers(1, 4)),
            "bad_words_ids": rng.integers(0, 4, size=(3, int(rng.integers(1, 4)))).tolist(),
            "min_tokens": int(rng.integers(1, 4)),
            "suppress_tokens": rng.integers(4, 48, size=3).tolist(),
            "top_k": int(rng.integers(1, 40)),
            "top_p": float(rng.uniform(0.3, 0.99)),
            "min_p": float(rng.uniform(0.001, 0.1)),
            "typical_p": float(rng.uniform(0.2, 0.99)),
        }
        settings = {k: v for k, v in chances.items() if rng.random() < 0.5}
        settings["temperature"] = float(np.float32(rng.uniform(0.5, 1.5)))
        logits = (rng.normal(size=make.V) * 2).astype(np.float32)
        prompt = rng.integers(0, 4, size=12).tolist()
        output = rng.integers(1, 4, size=int(rng.integers(0, 3))).tolist()
        expected = make.transformers_scores(settings, logits, prompt, output)
        got = ours(settings, prompt, output, logits, "")
        np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=str(settings))
