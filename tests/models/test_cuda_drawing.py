"""Tokens that a GPU draws, and what it tells of them, on its emulation."""

from __future__ import annotations

import pytest

import genfast
import tiny_model
from test_cuda import CONFIG

pytestmark = pytest.mark.slow

F32 = {"dtype": "float32", "kv_dtype": "float32"}
MOST_TOLD = 20  # more logprobs are the CPU's


@pytest.fixture
def cuda(emulation, monkeypatch):
    monkeypatch.setenv("GENFAST_CUDA_LIBRARY", str(emulation))
    return {"device": "cuda", "kv_cache_bytes": 1 << 24, **F32}


@pytest.mark.parametrize("temperature", [0, 0.9])
def test_logprobs_told_there_are_those_told_here(temperature, rng, tmp_path, cuda):
    path = tiny_model.write_model(tmp_path, CONFIG, seed=7)
    prompts = [rng.integers(97, size=n).tolist() for n in (3, 35, 18)]
    options = {"max_tokens": 5, "temperature": temperature, "seed": 5, "ignore_eos": True}
    with genfast.load(path, **cuda) as model:
        there = model.generate(prompts, logprobs=MOST_TOLD, **options)
        assert model.stats()["tokens_drawn_on_gpu"] > 0
        drawn = model.stats()["tokens_drawn_on_gpu"]
        here = model.generate(prompts, logprobs=MOST_TOLD + 1, **options)
        assert model.stats()["tokens_drawn_on_gpu"] == drawn
        alone = model.generate(prompts[1], logprobs=MOST_TOLD, **options)
        assert alone.logprobs == there[1].logprobs
    for got, want in zip(there, here, strict=True):
        assert got.token_ids == want.token_ids
        for a, b in zip(got.logprobs, want.logprobs, strict=True):
            # Sums of 97 floats, and a logarithm rounded.
            near = {"abs": 1e-5, "rel": 1e-6}
            assert a.logprob == pytest.approx(b.logprob, **near)
            assert a.entropy == pytest.approx(b.entropy, **near)
            assert a.margin == pytest.approx(b.margin, **near)
            assert [id for id, _ in a.top] == [id for id, _ in b.top[:MOST_TOLD]]
            assert [x for _, x in a.top] == pytest.approx([x for _, x in b.top[:MOST_TOLD]], **near)


def test_how_many_tokens_are_drawn_where(tmp_path, cuda):
    options = {"max_tokens": 6, "ignore_eos": True}
    tensors = tiny_model.weights(CONFIG, 7)
    path = tiny_model.write_model(tmp_path / "peaked", CONFIG, 7, tensors=tensors)
    with genfast.load(path, **cuda) as model:

        def counts(**more):
            before = model.stats()
            model.generate([1, 2, 3], **options, **more)
            after = model.stats()
            return [
                after[name] - before[name] for name in ("tokens_drawn_on_gpu", "tokens_left_to_cpu")
            ]

        assert counts(temperature=0) == [6, 0]
        assert counts(temperature=0, logprobs=3) == [6, 0]
        assert counts(temperature=0, repetition_penalty=1.2) == [0, 0]
    with genfast.load(path, **F32) as model:
        model.generate([1, 2, 3], **options)
        assert model.stats()["tokens_drawn_on_gpu"] == 0

    # All of so many tokens are as likely: more than a GPU looks at.
    config = CONFIG | {"vocab_size": 2000}
    tensors = tiny_model.weights(config, 7)
    tensors["lm_head.weight"][:] = 0
    path = tiny_model.write_model(tmp_path / "flat", config, 7, tensors=tensors)
    with genfast.load(path, **cuda) as model:
        assert counts(temperature=1) == [0, 6]
        assert counts(temperature=0) == [6, 0]
        assert counts(temperature=0, logprobs=3) == [0, 6]
