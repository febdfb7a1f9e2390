"""What generate promises: stops, seeds, choices, logprobs, limits and clear errors."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from idle import wait_until_idle


def test_greedy_is_the_argmax_of_the_logits(tiny, prompt):
    out = tiny.generate(prompt, max_tokens=12, temperature=0)
    ids = list(prompt)
    for token in out.token_ids:
        assert token == int(np.argmax(tiny.logits(ids)[-1]))
        ids.append(token)
    assert out.finish_reason == "length"
    assert out.usage.prompt_tokens == len(prompt)
    assert out.usage.completion_tokens == 12


def test_a_seed_repeats_and_no_seed_does_not(tiny, prompt):
    options = {"max_tokens": 30, "temperature": 1.5}
    first = tiny.generate(prompt, seed=5, **options).token_ids
    assert tiny.generate(prompt, seed=5, **options).token_ids == first
    assert tiny.generate(prompt, seed=6, **options).token_ids != first
    fresh = {tuple(tiny.generate(prompt, **options).token_ids) for _ in range(4)}
    assert len(fresh) > 1


def test_n_gives_independent_choices_that_a_seed_repeats(tiny, prompt):
    options = {"max_tokens": 20, "temperature": 1.2, "seed": 3, "n": 3}
    out = tiny.generate(prompt, **options)
    texts = [choice.token_ids for choice in out.choices]
    assert len(texts) == 3 and len({tuple(t) for t in texts}) == 3
    assert [c.token_ids for c in tiny.generate(prompt, **options).choices] == texts
    assert out.usage.completion_tokens == 60


def test_stop_token_ids_end_the_generation(tiny, prompt):
    free = tiny.generate(prompt, max_tokens=20).token_ids
    stop = free[5]
    out = tiny.generate(prompt, max_tokens=20, stop_token_ids=[stop])
    assert out.finish_reason == "stop"
    assert out.token_ids == free[: free.index(stop) + 1]


def test_min_tokens_forbids_an_early_end(tiny, prompt):
    free = tiny.generate(prompt, max_tokens=20).token_ids
    out = tiny.generate(prompt, max_tokens=20, stop_token_ids=[free[0]], min_tokens=10)
    assert len(out.token_ids) >= 10 and free[0] not in out.token_ids[:10]


def test_logprobs_are_those_of_the_model(tiny, prompt):
    out = tiny.generate(prompt, max_tokens=6, temperature=0.7, seed=1, logprobs=4)
    ids = list(prompt)
    for token, entry in zip(out.token_ids, out.logprobs, strict=True):
        logits = tiny.logits(ids)[-1].astype(np.float64)
        exact = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        assert entry.token_id == token
        # One rounding to float32 of a sum taken in blocks of double.
        assert entry.logprob == pytest.approx(exact[token], abs=2e-6)
        order = np.argsort(-exact, kind="stable")[:4]
        assert [i for i, _ in entry.top] == order.tolist()
        assert [p for _, p in entry.top] == pytest.approx(exact[order], abs=2e-6)
        ids.append(token)


def test_score_and_perplexity(tiny, prompt):
    score = tiny.score(prompt)
    logits = tiny.logits(prompt).astype(np.float64)
    exact = logits - logits.max(-1, keepdims=True)
    exact -= np.log(np.exp(exact).sum(-1, keepdims=True))
    expected = exact[np.arange(len(prompt) - 1), prompt[1:]]
    assert score.logprobs[0] is None
    assert score.logprobs[1:] == pytest.approx(expected, abs=2e-6)
    assert score.perplexity == pytest.approx(np.exp(-expected.mean()), rel=1e-5)
    assert not any(score.top)
    told = tiny.score(prompt, top=3)
    assert told.logprobs == score.logprobs and told.top[0] == []
    for row, top in zip(exact[:-1], told.top[1:], strict=True):
        order = np.argsort(-row, kind="stable")[:3]
        assert [i for i, _ in top] == order.tolist()
        assert [p for _, p in top] == pytest.approx(row[order], abs=2e-6)
    for wrong in (-1, tiny.vocab_size + 1, "3", True):
        with pytest.raises(ValueError, match=r"top=.* is not allowed"):
            tiny.score(prompt, top=wrong)


def test_logit_bias_and_penalties_reach_the_sampler(tiny, prompt):
    forced = tiny.generate(prompt, max_tokens=5, logit_bias={42: 1000.0}).token_ids
    assert forced == [42] * 5
    banned = tiny.generate(prompt, max_tokens=30, presence_penalty=2.0, frequency_penalty=2.0)
    plain = tiny.generate(prompt, max_tokens=30)
    assert len(set(banned.token_ids)) >= len(set(plain.token_ids))


def test_the_context_limit_ends_with_length(tiny, rng):
    room = 3
    ids = rng.integers(0, tiny.vocab_size, tiny.context_length - room).tolist()
    out = tiny.generate(ids, max_tokens=50, ignore_eos=True)
    assert out.finish_reason == "length"
    assert len(out.token_ids) == room + 1  # the last one needs no place in the context
    with pytest.raises(ValueError, match="context"):
        tiny.generate(ids + [0] * (room + 1))


def test_streams_add_up_to_the_whole(tiny, prompt):
    whole = tiny.generate(prompt, max_tokens=15, temperature=1.0, seed=9)
    chunks = list(tiny.stream(prompt, max_tokens=15, temperature=1.0, seed=9))
    assert [t for c in chunks for t in c.token_ids] == whole.token_ids
    assert [c.finish_reason for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == whole.finish_reason
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == len(prompt)


@pytest.mark.parametrize(
    "prompt, match",
    [
        ([], "empty"),
        ([1, 97], "prompt"),
        ([1, -1], "prompt"),
        ([1.5], "prompt"),
        ("text", "tokenizer"),
        ({"a": 1}, "prompt"),
        (7, "prompt"),
        (b"x", "prompt"),
        ([[1], []], "empty"),
    ],
)
def test_wrong_prompts_are_refused_before_any_work(tiny, prompt, match):
    with pytest.raises(ValueError, match=match):
        tiny.generate(prompt)


def test_wrong_arguments_of_load(tiny_dir):
    for wrong in (
        {"quantize": "int3"},
        {"dtype": "float64"},
        {"kv_dtype": "int2"},
        {"window": 0},
        {"sinks": 33, "window": 64},
        {"sinks": 4},
        {"device": "tpu"},
        {"threads": 0},
        {"threads": True},
        {"kv_cache_bytes": -5},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            genfast.load(tiny_dir, **wrong)


def test_a_small_kv_cache_serves_many_requests_by_turns(tiny_dir, prompts):
    """Pages run out: requests wait, or give their pages back and are computed again."""
    with genfast.load(tiny_dir) as model:
        expected = [g.token_ids for g in model.generate(prompts * 3, max_tokens=60)]
        page = model.kv_bytes_per_token * 32
    with genfast.load(tiny_dir, kv_cache_bytes=16 * page) as model:
        assert model.stats()["kv_pages"] == 16
        got = [g.token_ids for g in model.generate(prompts * 3, max_tokens=60)]
        assert got == expected
        wait_until_idle(model)  # every page is given back
