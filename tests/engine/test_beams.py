"""Beam search in the engine: beside others, cut short, short of pages; groups and phrases."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest

import genfast
from idle import wait_until_idle

ENDS = list(range(0, 60, 3))  # so many end tokens that hypotheses end early and late
SEARCH = {"num_beams": 4, "n": 4, "max_tokens": 40, "stop_token_ids": ENDS, "length_penalty": 1.5}
LONG = {"num_beams": 4, "n": 4, "max_tokens": 90}


def found(out):
    """All that a search answers, to the bit."""
    return [(c.token_ids, c.score, c.finish_reason, c.receipt.digests) for c in out.choices]


def by_rank(stream):
    return sorted(stream, key=lambda chunk: chunk.index)


def log_softmax(logits):
    wide = logits.astype(np.float64)
    wide -= wide.max(-1, keepdims=True)
    return wide - np.log(np.exp(wide).sum(-1, keepdims=True))


def score_of(model, prompt, tokens, length_penalty=1.0):
    rows = log_softmax(model.logits(prompt + tokens)[len(prompt) - 1 : -1])
    return rows[np.arange(len(tokens)), tokens].sum() / len(tokens) ** length_penalty


def test_scores_are_those_of_the_model(tiny, prompt):
    out = tiny.generate(prompt, **SEARCH)
    assert len(out.choices) == 4
    scores = [choice.score for choice in out.choices]
    assert scores == sorted(scores, reverse=True)
    for choice in out.choices:
        assert choice.score == pytest.approx(
            score_of(tiny, prompt, choice.token_ids, 1.5), rel=1e-5
        )
    assert out.usage.prompt_tokens == len(prompt)
    assert out.usage.completion_tokens == sum(len(c.token_ids) for c in out.choices)


def test_as_many_beams_as_there_are_texts_find_the_best(tiny, prompt):
    """Three tokens of a vocabulary of four: a beam of 16 sees them all."""
    allowed = [3, 50, 71, 90]
    bias = {i: -1e9 for i in range(tiny.vocab_size) if i not in allowed}
    out = tiny.generate(prompt, num_beams=16, n=4, max_tokens=3, logit_bias=bias)
    every = [list(tokens) for tokens in itertools.product(allowed, repeat=3)]
    best = sorted(every, key=lambda tokens: -score_of(tiny, prompt, tokens))
    assert [c.token_ids for c in out.choices] == best[:4]


def test_logprobs_are_those_of_the_model(tiny, prompt):
    out = tiny.generate(prompt, num_beams=3, n=2, max_tokens=8, logprobs=3, repetition_penalty=1.5)
    for choice in out.choices:
        rows = log_softmax(tiny.logits(prompt + choice.token_ids)[len(prompt) - 1 : -1])
        for token, entry, row in zip(choice.token_ids, choice.logprobs, rows, strict=True):
            order = np.argsort(-row, kind="stable")[:3]
            assert entry.token_id == token
            assert entry.logprob == pytest.approx(row[token], abs=4e-6)
            assert [i for i, _ in entry.top] == order.tolist()
            assert [p for _, p in entry.top] == pytest.approx(row[order], abs=4e-6)


def test_beside_others_each_gets_what_it_gets_alone(tiny, prompts):
    alone = [found(tiny.generate(ids, **SEARCH)) for ids in prompts]
    plain = [tiny.generate(ids, max_tokens=30).token_ids for ids in prompts]
    streams = [tiny.stream(ids, max_tokens=30) for ids in prompts]
    together = [found(out) for out in tiny.generate(prompts, **SEARCH)]
    assert together == alone
    assert [[t for c in s for t in c.token_ids] for s in streams] == plain


@pytest.mark.parametrize(
    "options", [{"threads": 1}, {"threads": 2}, {"prefix_cache": False}, {"kv_dtype": "int8"}]
)
def test_the_same_bits_however_it_is_computed(tiny_dir, prompts, options):
    kv_dtype = options.get("kv_dtype", "auto")
    with genfast.load(tiny_dir, kv_dtype=kv_dtype, threads=2) as model:
        expected = [found(out) for out in model.generate(prompts, **SEARCH)]
        assert [found(out) for out in model.generate(prompts, **SEARCH)] == expected  # cached now
    with genfast.load(tiny_dir, **options) as model:
        assert [found(model.generate(ids, **SEARCH)) for ids in prompts] == expected


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8", "int4", "fp8"])
def test_what_is_shared_is_attended_to_together_to_the_same_bits(tiny_dir, rng, kv_dtype):
    """Beams, choices and requests over one long text; alone and without pages in common."""
    text = rng.integers(0, 97, 560).tolist()
    prompts = [text + rng.integers(0, 97, n).tolist() for n in (1, 7, 90)]
    search = {**SEARCH, "max_tokens": 12}
    sample = {"n": 3, "temperature": 1.0, "seed": 5, "max_tokens": 12}

    def asked(model, ids, **options):
        return [(c.token_ids, c.receipt.digests) for c in model.generate(ids, **options).choices]

    with genfast.load(tiny_dir, kv_dtype=kv_dtype, threads=1, prefix_cache=False) as model:
        beams = [found(model.generate(ids, **search)) for ids in prompts]
        choices = [asked(model, ids, **sample) for ids in prompts]
    with genfast.load(tiny_dir, kv_dtype=kv_dtype, threads=2) as model:
        model.generate(text, max_tokens=1)
        streams = [model.stream(ids, **sample) for ids in prompts]
        together = [found(out) for out in model.generate(prompts, **search)]
        assert together == beams
        for stream, want in zip(streams, choices, strict=True):
            got = {i: [] for i in range(3)}
            for chunk in stream:
                got[chunk.index] += chunk.token_ids
            assert [got[i] for i in range(3)] == [tokens for tokens, _ in want]
        assert [asked(model, ids, **sample) for ids in prompts] == choices


@pytest.mark.parametrize("prefix_cache", [True, False])
@pytest.mark.parametrize("load", [{}, {"window": 48, "sinks": 4}])
def test_short_of_pages_it_comes_back_to_the_same(tiny_dir, rng, prefix_cache, load):
    """Searches and others by turns in a cache that holds few of them, one of high priority."""
    prompts = [rng.integers(0, 97, n).tolist() for n in (5, 40, 33, 70)]
    with genfast.load(tiny_dir, **load) as model:
        expected = [found(model.generate(ids, **LONG)) for ids in prompts]
        plain = model.generate(prompts[1], max_tokens=150).token_ids
        page = model.kv_bytes_per_token * 32
    with genfast.load(
        tiny_dir, kv_cache_bytes=32 * page, prefix_cache=prefix_cache, **load
    ) as model:
        for _ in range(3):
            streams = [model.stream(ids, **LONG) for ids in prompts]
            urgent = model.generate(prompts[1], max_tokens=150, priority=1)
            assert urgent.token_ids == plain
            for stream, want in zip(streams, expected, strict=True):
                assert [c.token_ids for c in by_rank(stream)] == [tokens for tokens, *_ in want]
        wait_until_idle(model)


def test_too_small_a_cache_ends_with_what_there_is(tiny_dir, prompt):
    with genfast.load(tiny_dir) as model:
        page = model.kv_bytes_per_token * 32
    with genfast.load(tiny_dir, kv_cache_bytes=16 * page) as model:
        out = model.generate(prompt, num_beams=16, n=16, max_tokens=500)
        assert out.finish_reason == "length" and len(out.choices) == 16
        assert 0 < len(out.token_ids) < 500
        wait_until_idle(model)


def test_cancelled_and_overdue_searches_give_their_pages_back(tiny, prompt):
    for _ in range(5):
        stream = tiny.stream(prompt, num_beams=8, max_tokens=900)
        stream.close()
    wait_until_idle(tiny)
    reasons = set()
    for attempt in range(40):
        with contextlib.suppress(genfast.DeadlineError):
            out = tiny.generate(
                prompt, num_beams=8, n=8, max_tokens=900, deadline_ms=300 * 0.8 ** (attempt % 20)
            )
            reasons.add(out.finish_reason)
            scores = [choice.score for choice in out.choices]
            if out.finish_reason == "deadline" and out.token_ids:
                assert len(scores) == 8 and scores == sorted(scores, reverse=True)
                break
    assert "deadline" in reasons
    wait_until_idle(tiny)


def test_a_stream_gives_all_at_the_end(tiny, prompt):
    chunks = by_rank(tiny.stream(prompt, **SEARCH))
    out = tiny.generate(prompt, **SEARCH)
    assert [c.index for c in chunks] == [0, 1, 2, 3]
    assert [c.token_ids for c in chunks] == [c.token_ids for c in out.choices]
    assert [c.finish_reason for c in chunks] == [c.finish_reason for c in out.choices]


def test_a_receipt_replays(tiny, tiny_dir, prompt):
    for choice in tiny.generate(prompt, **SEARCH).choices:
        replay = genfast.replay(choice.receipt, tiny_dir)
        assert replay.first_difference is None and not replay.differences
        assert replay.steps == len(choice.token_ids)


# --- groups --------------------------------------------------------------------------------------


def diverse_beams(model, prompt, beams, groups, penalty, steps):
    """Without end tokens and with length_penalty 0: the definition, in float64."""
    running = [[([], 0.0)] for _ in range(groups)]
    for _ in range(steps):
        taken = np.zeros(model.vocab_size)
        for g in range(groups):
            ways = []
            for tokens, score in running[g]:
                row = log_softmax(model.logits(prompt + tokens)[-1]) - penalty * taken
                ways += [([*tokens, t], score + row[t]) for t in range(model.vocab_size)]
            running[g] = sorted(ways, key=lambda way: -way[1])[: beams // groups]
            for tokens, _ in running[g]:
                taken[tokens[-1]] += 1
    return sorted((way for group in running for way in group), key=lambda way: -way[1])


@pytest.mark.parametrize(("beams", "groups", "penalty"), [(4, 2, 0.7), (3, 3, 2.0), (6, 2, 30.0)])
def test_groups_avoid_each_others_tokens(tiny, prompt, beams, groups, penalty):
    out = tiny.generate(
        prompt,
        num_beams=beams,
        n=beams,
        num_beam_groups=groups,
        diversity_penalty=penalty,
        max_tokens=6,
        length_penalty=0.0,
    )
    expected = diverse_beams(tiny, prompt, beams, groups, penalty, 6)
    assert [c.token_ids for c in out.choices] == [tokens for tokens, _ in expected]
    assert [c.score for c in out.choices] == pytest.approx([s for _, s in expected], rel=1e-5)


def test_groups_end_each_by_itself(tiny, prompts):
    options = {**SEARCH, "num_beams": 6, "n": 6, "num_beam_groups": 3, "diversity_penalty": 1.0}
    for out in tiny.generate(prompts, **options):
        assert len(out.choices) == 6
        for choice in out.choices:
            ended = choice.token_ids[-1] in ENDS
            assert choice.finish_reason == ("stop" if ended else "length")
            assert ended or len(choice.token_ids) == 40
    wait_until_idle(tiny)


# --- required phrases ----------------------------------------------------------------------------


def contains(tokens, phrase):
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens)))


def test_phrases_are_there(tiny, prompts, rng):
    for ids in prompts:
        phrases = [rng.integers(61, 97, n).tolist() for n in (1, 3, 2)]
        out = tiny.generate(
            ids, num_beams=6, n=3, max_tokens=20, stop_token_ids=ENDS, required=phrases
        )
        for choice in out.choices:
            assert all(contains(choice.token_ids, phrase) for phrase in phrases)
            assert choice.score == pytest.approx(score_of(tiny, ids, choice.token_ids), rel=1e-5)


def test_with_beams_enough_the_best_text_with_the_phrase_is_found(tiny, prompt):
    allowed = [3, 50, 71, 90]
    bias = {i: -1e9 for i in range(tiny.vocab_size) if i not in allowed}
    for phrase in ([71, 71], [90, 3, 50]):
        out = tiny.generate(
            prompt, num_beams=64, n=3, max_tokens=4, logit_bias=bias, required=[phrase]
        )
        every = [list(t) for t in itertools.product(allowed, repeat=4)]
        every = [tokens for tokens in every if contains(tokens, phrase)]
        best = sorted(every, key=lambda tokens: -score_of(tiny, prompt, tokens))
        assert [c.token_ids for c in out.choices] == best[:3]


def test_a_phrase_that_begins_within_itself(tiny, prompt):
    """1 1 2 in 1 1 1 2: what was matched falls back to a shorter beginning, not to none."""
    bias = {i: -1e9 for i in range(tiny.vocab_size) if i not in (71, 90)}
    out = tiny.generate(
        prompt, num_beams=8, n=8, max_tokens=4, logit_bias=bias, required=[[71, 71, 90]]
    )
    texts = [c.token_ids for c in out.choices]
    assert [71, 71, 71, 90] in texts
    assert all(contains(tokens, [71, 71, 90]) for tokens in texts)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"num_beams": 0}, ["num_beams"]),
        ({"num_beams": 65}, ["num_beams"]),
        ({"num_beams": 4, "n": 5}, ["n=5", "num_beams=4"]),
        ({"num_beams": 4, "temperature": 0.7}, ["temperature=0.7", "num_beams=4"]),
        ({"num_beams": 4, "speculate": True}, ["speculate=True", "num_beams=4"]),
        ({"num_beams": 4, "num_beam_groups": 3}, ["num_beam_groups=3", "num_beams=4"]),
        ({"num_beams": 4, "num_beam_groups": 2}, ["num_beam_groups=2", "diversity_penalty=0"]),
        ({"num_beams": 4, "diversity_penalty": 1.0}, ["num_beam_groups=1", "diversity_penalty"]),
        ({"length_penalty": 2.0}, ["length_penalty=2.0", "num_beams=1"]),
        ({"early_stopping": True}, ["early_stopping=True", "num_beams=1"]),
        ({"required": [[5]]}, ["required", "num_beams=1"]),
        ({"num_beams": 4, "early_stopping": "sometimes"}, ["early_stopping", "never"]),
        ({"num_beams": 4, "length_penalty": float("nan")}, ["length_penalty"]),
        ({"num_beams": 4, "required": [[5] * 9], "max_tokens": 8}, ["9 tokens", "max_tokens=8"]),
        ({"num_beams": 4, "required": [[97]]}, ["required", "token 97"]),
        ({"num_beams": 4, "required": [[5]], "stop_token_ids": [5]}, ["required", "token 5"]),
        ({"num_beams": 4, "required": [[]]}, ["required"]),
        ({"num_beams": 4, "required": ["a word"]}, ["required", "tokenizer"]),
        ({"num_beams": 4, "num_return_sequences": 2, "n": 3}, ["num_return_sequences=2", "n=3"]),
    ],
)
def test_what_contradicts_is_refused_by_name(tiny, prompt, options, names):
    with pytest.raises(ValueError) as caught:
        tiny.generate(prompt, **options)
    for name in names:
        assert name in str(caught.value)


def test_num_return_sequences_is_n(tiny, prompt):
    assert len(tiny.generate(prompt, num_beams=3, num_return_sequences=3).choices) == 3
