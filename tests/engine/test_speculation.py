"""Speculation changes speed and nothing else: tokens, logprobs and the digests of all logits are
those of a run without it."""

from __future__ import annotations

from pathlib import Path

import pytest

import genfast
from genfast import _core

STORIES = Path(__file__).resolve().parents[3] / "shared" / "data" / "models" / "stories260K"
LOOP = 100.0  # a logit bias that makes every token the same one
# Tosses of a coin: there is always something to guess from, and often it is wrong.
COIN = {"temperature": 5.0, "logit_bias": {7: 100.0, 11: 100.0}}

SAMPLERS = {
    "greedy": {},
    "temperature": {"temperature": 0.7},
    "top_k": {"temperature": 1.0, "top_k": 5},
    "top_p": {"temperature": 1.0, "top_p": 0.5},
    "min_p": {"temperature": 1.0, "min_p": 0.2},
    "repetition": {"repetition_penalty": 1.3},
    "presence": {"temperature": 0.3, "presence_penalty": 0.7},
    "frequency": {"temperature": 0.3, "frequency_penalty": 0.2},
    "bias": {"logit_bias": {7: 3.0, 11: 3.0}, "temperature": 0.5},
    "min_tokens": {"stop_token_ids": list(range(0, 97, 7)), "min_tokens": 20},
    "stop_ids": {"stop_token_ids": [7, 11], "logit_bias": {7: 1.5}, "temperature": 0.4},
    "top_n_sigma": {"temperature": 1.0, "top_n_sigma": 1.0},
    "typical": {"temperature": 1.0, "typical_p": 0.5},
    "xtc": {"temperature": 1.0, "xtc_probability": 0.5},
    "dry": {"temperature": 0.4, "dry_multiplier": 0.8, "dry_sequence_breakers": [5]},
    "mirostat": {"temperature": 1.0, "mirostat_tau": 3.0},
    "no_repeat": {"temperature": 0.4, "no_repeat_ngram_size": 4},
    "bad_words": {"temperature": 0.4, "bad_words_ids": [[7, 11], [5]]},
    "forced": {"temperature": 0.4, "forced_tokens": [(3, 9), (4, 7), (30, 9)]},
    "logprobs": {"logprobs": 4, "temperature": 0.5},
    "three": {"n": 3, "temperature": 0.6},
}


def run(model, prompts, **options):
    """All that must not depend on speculation, and how many guesses there were and were right."""
    options = {"temperature": 0.0, "max_tokens": 60, "seed": 5, "ignore_eos": True, **options}
    outs = model.generate(prompts, **options)
    made = [
        (c.token_ids, c.finish_reason, c.logprobs, c.receipt.digests)
        for out in outs
        for c in out.choices
    ]
    drafted = sum(out.usage.draft_tokens for out in outs)
    accepted = sum(out.usage.accepted_tokens for out in outs)
    assert 0 <= accepted <= drafted
    return made, drafted, accepted


def repeating(rng, vocab: int) -> list[list[int]]:
    """Prompts in which the same tokens come again, so that there is something to guess from."""
    prompts = []
    for length in (3, 20, 40):
        phrase = rng.integers(1, vocab, length).tolist()
        prompts.append(phrase * 3)
    return prompts


@pytest.fixture(scope="module", params=["tiny", "bundled", "stories260K"])
def path(request, tiny_dir):
    if request.param == "stories260K" and not STORIES.is_dir():
        pytest.skip(f"{STORIES} is not there")
    return {"tiny": tiny_dir, "bundled": None, "stories260K": STORIES}[request.param]


@pytest.fixture(scope="module", params=[1, 2])
def model(request, path):
    with genfast.load(path, threads=request.param, progress=False) as model:
        yield model
        stats = model.stats()  # over all samplers: some guesses were right, some wrong
        assert stats["draft_tokens"] > stats["accepted_tokens"] > 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_the_same(model, rng, sampler):
    prompts = repeating(rng, model.vocab_size)
    expected, drafted, _ = run(model, prompts, speculate=False, **SAMPLERS[sampler])
    assert drafted == 0
    forced, *_ = run(model, prompts, speculate=True, **SAMPLERS[sampler])
    assert forced == expected
    adaptive, *_ = run(model, prompts, speculate="auto", **SAMPLERS[sampler])
    assert adaptive == expected
    for ids, alone in zip(prompts, expected, strict=False):  # and without the batch
        if len(expected) == len(prompts):
            assert run(model, [ids], speculate=True, **SAMPLERS[sampler])[0] == [alone]


@pytest.mark.parametrize(
    "settings",
    [
        {"quantize": "int8"},
        {"quantize": "int4", "kv_dtype": "int8"},
        {"dtype": "bfloat16", "kv_dtype": "int4", "window": 20, "sinks": 4},
    ],
    ids=["int8", "int4-int8kv", "window"],
)
def test_every_format_gives_the_same(tiny_dir, rng, settings):
    with genfast.load(tiny_dir, **settings) as model:
        prompts = repeating(rng, model.vocab_size)
        options = {**COIN, "max_tokens": 120}
        expected, *_ = run(model, prompts, speculate=False, **options)
        forced, drafted, accepted = run(model, prompts, speculate=True, **options)
        assert forced == expected
        assert drafted > accepted  # some were wrong: their keys and values were left behind


def test_the_prefix_cache_holds_what_was_accepted_and_nothing_else(tiny_dir, rng):
    """What was guessed wrong is in the cache's memory, and no later prompt may find it."""
    ids = repeating(rng, 97)[1]
    options = {**COIN, "max_tokens": 100}
    with genfast.load(tiny_dir, prefix_cache=False) as plain, genfast.load(tiny_dir) as model:
        [(tokens, *_)], drafted, accepted = run(model, [ids], speculate=True, **options)
        assert drafted > accepted
        again = [ids + tokens[:50], ids + tokens]
        expected, *_ = run(plain, again, speculate=False, **options)
        for speculate in (False, True):
            assert run(model, again, speculate=speculate, **options)[0] == expected
        assert model.stats()["cached_tokens"] >= 2 * (len(ids) + 32)


def test_those_that_gave_way_come_back_to_the_same(tiny_dir, rng):
    with genfast.load(tiny_dir) as model:
        budget = 16 * model.kv_page_bytes
        prompts = [phrase * 2 for phrase in repeating(rng, model.vocab_size)]
        options = {**COIN, "max_tokens": 150}
        expected, *_ = run(model, prompts, speculate=False, **options)
    with genfast.load(tiny_dir, kv_cache_bytes=budget) as narrow:
        got, drafted, accepted = run(narrow, prompts, speculate=True, **options)
        assert got == expected and drafted > 0
        computed = narrow.stats()["tokens"] - (drafted - accepted)
        assert computed > sum(map(len, prompts)) + 3 * 149  # some of it twice


@pytest.mark.parametrize("kv_cache_bytes", [None, 16], ids=["context", "cache"])
def test_it_ends_where_there_is_no_more_room(tmp_path, tiny_dir, kv_cache_bytes):
    """Guesses need places too, and there are none after the last."""
    with genfast.load(tiny_dir) as model:
        page = model.kv_page_bytes
    budget = kv_cache_bytes and kv_cache_bytes * page
    end = 1024 if budget is None else 512
    with genfast.load(tiny_dir, kv_cache_bytes=budget) as model:
        prompt = [5, 6] * ((end - 40) // 2)
        ends = []
        for speculate in (False, True):
            options = {"max_tokens": 300, "logit_bias": {5: LOOP}}
            [made], *_ = run(model, [prompt], speculate=speculate, **options)
            ends.append(made)
        assert ends[0] == ends[1]
        assert ends[0][1] == "length" and len(ends[0][0]) == 41


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 9, 10, 50])
def test_a_text_that_repeats_takes_few_steps(tiny, max_tokens):
    before = tiny.stats()
    options = {"max_tokens": max_tokens, "logit_bias": {5: LOOP}, "speculate": True}
    [(tokens, reason, *_)], drafted, accepted = run(tiny, [[5, 5, 5, 5]], **options)
    assert tokens == [5] * max_tokens and reason == "length"
    after = tiny.stats()
    made = {name: after[name] - before[name] for name in after}
    assert made["steps"] == 1 + -(-(max_tokens - 1) // 9)  # 8 guesses and what follows them
    assert made["accepted_tokens"] == made["draft_tokens"] == accepted == drafted
    assert made["steps"] - 1 + accepted == max_tokens - 1


def test_a_stop_within_a_draft_ends_there(tiny):
    """The prompt repeats, the answer follows it up to the token that ends it, mid-draft."""
    options = {"logit_bias": {5: LOOP}, "stop_token_ids": [5], "min_tokens": 0}
    [(tokens, reason, *_)], *_ = run(tiny, [[5] * 8], speculate=True, **options)
    assert (tokens, reason) == ([5], "stop")
    stream = [5, 6, 7, 8, 9] * 6
    cut, drafted = 0, 0
    for stop in range(97):
        options = {"temperature": 0.2, "stop_token_ids": [stop], "max_tokens": 200}
        expected, *_ = run(tiny, [stream], speculate=False, **options)
        got, more, _ = run(tiny, [stream], speculate=True, **options)
        assert got == expected
        cut += expected[0][1] == "stop"
        drafted += more
    assert cut > 0 and drafted > 0


def test_streams_and_stop_strings_see_the_same_text():
    with genfast.load(progress=False) as model:
        prompt = "I will go, and I will come, and I will"
        for stop in (None, [" the"], ["\n"]):
            texts = []
            for speculate in (False, True):
                options = {"stop": stop, "seed": 3, "max_tokens": 80, "speculate": speculate}
                chunks = list(model.stream(prompt, **options))
                texts.append("".join(chunk.text for chunk in chunks))
                assert texts[-1] == model.generate(prompt, **options).text
            assert texts[0] == texts[1]


def test_a_receipt_replays_with_or_without(tiny_dir, rng, tiny):
    ids = repeating(rng, 97)[0]
    out = tiny.generate(ids, max_tokens=40, temperature=0.5, seed=1, speculate=True)
    assert "speculate" not in out.receipt.parameters
    assert genfast.replay(out.receipt, tiny_dir).first_difference is None


@pytest.mark.parametrize("value", ["sometimes", "True", 1, 0.5, [True]])
def test_other_values_are_refused(tiny, value):
    with pytest.raises(ValueError, match=r"speculate=.*True, False or 'auto'"):
        tiny.generate([1], speculate=value)


# --- the index and the decision, alone ---------------------------------------------------------


def naive_longest(context: list[int], tries: int = 32) -> tuple[int, int]:
    """The definition: of the last places where the same two tokens end, the longest match."""
    size, best = len(context), (0, 0)
    places = [e for e in range(2, size) if context[e - 2 : e] == context[-2:]]
    for end in places[: -tries - 1 : -1]:
        length = 2
        while (
            length < min(end, _core.NgramIndex.LONGEST)
            and context[end - length - 1] == context[size - length - 1]
        ):
            length += 1
        if length > best[1]:
            best = (end, length)
    return best


@pytest.mark.parametrize("alphabet", [1, 2, 3, 20])
def test_the_index_finds_the_longest_match(rng, alphabet):
    for _ in range(20):
        index, context, found = _core.NgramIndex(), [], 0
        while len(context) < 150:
            context += rng.integers(0, alphabet, int(rng.integers(0, 6))).tolist()
            got = index.longest(context)
            assert got == naive_longest(context)
            found += got[1] > 0
        assert found > 0


def costs(seconds_of) -> _core.CostModel:
    model = _core.CostModel()
    for rows in (1, 2, 4, 8, 16, 32):
        model.record(rows, seconds_of(rows))
    return model


FLAT = costs(lambda rows: 1.0 + 0.001 * rows)
STEEP = costs(lambda rows: float(rows))


def guesses(speculation, context, cost, requests=1) -> int:
    return len(speculation.draft(context, 100, cost, requests)[0])


def test_drafts_are_long_where_rows_cost_nothing_and_none_where_they_cost_their_all():
    context = list(range(40)) * 2
    assert guesses(_core.Speculation(context), context, FLAT) == _core.Speculation.MOST
    assert guesses(_core.Speculation(context), context, STEEP) == 0


def test_a_draft_goes_on_into_itself():
    context = [9, 1, 2, 3, 1, 2, 3]
    tokens, _ = _core.Speculation(context).draft(context, 7, FLAT)
    assert tokens == [1, 2, 3, 1, 2, 3, 1][: len(tokens)] and len(tokens) >= 2


def test_the_more_pay_for_a_draft_the_shorter_it_is():
    cost = costs(lambda rows: 1.0 + 0.05 * rows)
    context = list(range(40)) * 2
    lengths = [guesses(_core.Speculation(context), context, cost, n) for n in (1, 4, 16, 64)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > lengths[-1] == 0


def test_wrong_guesses_end_drafts_right_ones_lengthen_them_and_none_is_given_up_for_ever():
    cost = costs(lambda rows: 1.0 + 0.1 * rows)
    context = list(range(40)) * 2
    speculation = _core.Speculation(context)
    first = guesses(speculation, context, cost)
    for _ in range(30):
        tokens, source = speculation.draft(context, 100, cost)
        if tokens:
            speculation.verified(tokens, source, len(tokens))
    lengths = [guesses(speculation, context, cost) for _ in range(200)]
    assert lengths.count(0) >= 195 and 2 <= len(lengths) - lengths.count(0) <= 4
    for _ in range(30):
        speculation.verified(context[:4], source, 0)
    assert guesses(speculation, context, cost) >= first > 0
