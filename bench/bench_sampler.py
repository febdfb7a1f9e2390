"""A step of the whole sampler over a vocabulary of 128k and a context of 4,096 tokens, one thread:
what each setting adds to plain sampling, and what accepting a token costs. `next` in the binding
copies the logits first: `none` has that and a draw with top_k alone."""

import numpy as np
import pytest

from genfast import _core

V, CONTEXT = 128256, 4096
BASE = {"temperature": 0.8, "top_k": 50, "seed": 1}
SETTINGS = {
    "none": {},
    "logit_bias": {"logit_bias": [(i, 1.0) for i in range(0, 3000, 10)]},
    "penalties": {"repetition_penalty": 1.1, "frequency_penalty": 0.1},
    "dry": {"dry_multiplier": 0.8, "dry_breakers": [3]},
    "no_repeat_ngram": {"no_repeat_ngram_size": 3},
    "bad_words": {"bad_words": [[i, i + 1] for i in range(0, 1000, 10)]},
    "typical": {"typical_p": 0.9},
    "top_n_sigma": {"top_n_sigma": 1.0},
    "xtc": {"xtc_probability": 1.0},
    "mirostat": {"mirostat_tau": 5.0, "top_k": 0},
    "logprobs": {"logprobs": 20},
    "logprobs_of_edited": {"logprobs": 20, "repetition_penalty": 1.1},
}


def text(rng) -> list[int]:
    """Tokens as frequent as words are: a few make up much of it (Zipf)."""
    return np.minimum(rng.zipf(1.2, size=CONTEXT), 50_000).tolist()


@pytest.mark.parametrize("name", SETTINGS)
def test_next(benchmark, rng, name):
    logits = (rng.normal(size=V) * 3).astype(np.float32)
    sampler = _core.Sampler(_core.SamplingParams(**{**BASE, **SETTINGS[name]}), text(rng))
    token = benchmark(lambda: sampler.next(logits, 7)[0])
    assert token == sampler.next(logits, 7)[0]


@pytest.mark.parametrize("name", ["none", "penalties", "dry", "no_repeat_ngram", "bad_words"])
def test_accept(benchmark, rng, name):
    sampler = _core.Sampler(_core.SamplingParams(**{**BASE, **SETTINGS[name]}), text(rng))
    tokens = iter(text(rng) * 1000)
    benchmark.pedantic(lambda: sampler.accept(next(tokens)), rounds=2000)
    assert next(tokens) >= 1
