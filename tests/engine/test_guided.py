"""Guided output: what comes out matches, whoever else is there, and ends as it should."""

from __future__ import annotations

import asyncio
import json
import re
import threading

import pytest

import genfast

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
PROMPT = "Once upon a time"
LATIN = r"[a-z]{2,9}( [a-z]{2,9}){1,3}\."


@pytest.fixture(scope="module")
def model():
    with genfast.load() as model:
        yield model


@pytest.mark.parametrize("temperature", [0, 1])
def test_json_schema(model, temperature):
    for seed in range(5):
        out = model.generate(
            PROMPT, json_schema=PERSON, temperature=temperature, seed=seed, max_tokens=200
        )
        assert out.finish_reason == "stop"
        person = json.loads(out.text)
        assert set(person) <= set(PERSON["properties"]) and {"name", "age"} <= set(person)
        assert len(person["name"]) <= 12 and 0 <= person["age"] <= 120


@pytest.mark.parametrize("schema", [PERSON, json.dumps(PERSON)])
def test_a_schema_may_be_a_dict_or_its_text(model, schema):
    options = {"temperature": 0, "max_tokens": 200}
    out = model.generate(PROMPT, json_schema=schema, **options)
    assert out.text == model.generate(PROMPT, json_schema=PERSON, **options).text


@pytest.mark.parametrize("schema", [True, "json"])
def test_any_json(model, schema):
    ended = 0
    for seed in range(20):
        out = model.generate(PROMPT, json_schema=schema, temperature=2, seed=seed, max_tokens=60)
        if out.finish_reason == "stop":
            json.loads(out.text)
            ended += 1
    assert ended


def test_regex(model):
    for seed in range(20):
        out = model.generate(PROMPT, regex=LATIN, temperature=1.5, seed=seed)
        assert out.finish_reason == "stop"
        assert re.fullmatch(LATIN, out.text)


def test_grammar(model):
    lark = """
        start: sum
        sum: product ("+" product)*
        product: NUMBER ("*" NUMBER)*
        NUMBER: /[1-9][0-9]?/
    """
    for seed in range(10):
        out = model.generate(PROMPT, grammar=lark, temperature=1.5, seed=seed, max_tokens=40)
        text = out.text if out.finish_reason == "stop" else out.text.rstrip("+*") or "1"
        assert re.fullmatch(r"[\d+*]+", text) and eval(text) > 0


def test_choices_of_every_kind_of_text(model):
    choices = ["yes", "yes!", 'a "quoted"\\ one', "two\nlines", "\x7f\x01", "été 😀", "a|b.*", "/"]
    seen = set()
    for seed in range(60):
        out = model.generate(PROMPT, choices=choices, temperature=3, seed=seed)
        assert (out.finish_reason, out.text in choices) == ("stop", True), out.text
        seen.add(out.text)
    assert len(seen) > 3


def test_a_single_choice_costs_its_tokens_and_no_end_token(model):
    out = model.generate(PROMPT, choices=["maybe"])
    assert (out.text, out.finish_reason) == ("maybe", "stop")
    assert model.tokenizer.decode(out.token_ids, skip_special_tokens=False) == "maybe"


def test_the_end_token_is_allowed_where_the_grammar_may_end_and_only_there(model):
    eos = model.tokenizer.eos_ids[0]
    wish = {eos: 100.0}  # the model wants nothing but to end
    out = model.generate(PROMPT, regex="aaaa*", logit_bias=wish)
    assert (out.text, out.finish_reason, out.token_ids[-1]) == ("aaa", "stop", eos)
    out = model.generate(PROMPT, regex="a{3,8}", logit_bias=wish, ignore_eos=True)
    assert (out.text, out.finish_reason) == ("a" * 8, "stop")
    assert eos not in out.token_ids


def test_special_tokens_are_not_text(model):
    name = model.tokenizer.id_to_token(model.tokenizer.eos_ids[0])
    out = model.generate(PROMPT, choices=[name], ignore_eos=True)
    assert out.text == name
    assert not set(out.token_ids) & model.tokenizer.special_ids


def test_max_tokens_ends_an_open_grammar(model):
    out = model.generate(PROMPT, regex="[a-z ]*", max_tokens=7, ignore_eos=True)
    assert (out.finish_reason, len(out.token_ids)) == ("length", 7)


def test_min_tokens_gives_way_to_a_complete_match(model):
    out = model.generate(PROMPT, choices=["no"], min_tokens=20)
    assert (out.text, out.finish_reason) == ("no", "stop")
    out = model.generate(PROMPT, regex="[a-z]+", min_tokens=20, max_tokens=40, seed=1)
    assert len(out.token_ids) >= 20


SAMPLERS = [
    {"top_k": 5},
    {"top_p": 0.7, "min_p": 0.02},
    {"top_n_sigma": 1.0},
    {"typical_p": 0.6},
    {"xtc_probability": 0.9, "xtc_threshold": 0.05},
    {"mirostat_tau": 3.0},
    {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.5},
    {"dry_multiplier": 1.0, "no_repeat_ngram_size": 4},
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: next(iter(sampler)))
def test_every_sampler_keeps_to_the_grammar(model, sampler):
    for seed in range(4):
        options = {"regex": LATIN, "temperature": 1.2, "seed": seed, **sampler}
        drafted = model.generate(PROMPT, speculate=True, **options)
        plain = model.generate(PROMPT, speculate=False, **options)
        assert plain.finish_reason == "stop" and re.fullmatch(LATIN, plain.text)
        assert drafted.token_ids == plain.token_ids


def test_what_other_keywords_force_or_forbid_does_not_break_a_grammar(model):
    (a,) = model.tokenizer.encode("a", add_special_tokens=False)
    (b,) = model.tokenizer.encode("b", add_special_tokens=False)
    for options in ({"forced_tokens": [(0, b)]}, {"suppress_tokens": [a]}):
        out = model.generate(PROMPT, regex="a{3}", **options)
        assert "b" not in out.text
        assert out.finish_reason == ("stop" if out.text == "aaa" else "grammar")


def test_logprobs_are_the_models_own(model):
    free = model.generate(PROMPT, max_tokens=1, logprobs=5)
    guided = model.generate(PROMPT, regex="Z+", max_tokens=1, logprobs=5)
    assert guided.logprobs[0].top == free.logprobs[0].top
    ids = model.tokenizer.encode(PROMPT) + guided.token_ids
    assert guided.logprobs[0].logprob == model.score(ids).logprobs[-1]


def test_a_batch_of_guided_and_others_equals_each_alone(model):
    asked = [
        {"json_schema": PERSON, "temperature": 1.0, "seed": 3},
        {"temperature": 1.0, "seed": 4},
        {"regex": LATIN, "temperature": 1.0, "seed": 5},
        {"choices": ["left", "right"], "temperature": 1.0, "seed": 6, "logprobs": 2},
        {"temperature": 0},
    ] * 3
    alone = [model.generate(PROMPT, max_tokens=60, **options) for options in asked]
    together = [None] * len(asked)

    def ask(index):
        together[index] = model.generate(PROMPT, max_tokens=60, **asked[index])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for a, b in zip(alone, together, strict=True):
        assert (a.token_ids, a.text, a.finish_reason) == (b.token_ids, b.text, b.finish_reason)
        assert a.receipt.digests == b.receipt.digests
        assert a.logprobs == b.logprobs


def test_n_choices_each_match_and_are_those_of_one_thread(model):
    options = {"regex": LATIN, "temperature": 1.0, "seed": 11, "n": 5}
    out = model.generate(PROMPT, **options)
    assert all(re.fullmatch(LATIN, choice.text) for choice in out.choices)
    assert len({choice.text for choice in out.choices}) > 1
    with genfast.load(threads=1) as one:
        again = one.generate(PROMPT, **options)
    assert [c.token_ids for c in again.choices] == [c.token_ids for c in out.choices]


def test_streams(model):
    options = {"json_schema": PERSON, "temperature": 1.0, "seed": 2, "max_tokens": 200}
    whole = model.generate(PROMPT, **options)
    chunks = list(model.stream(PROMPT, **options))
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert chunks[-1].finish_reason == "stop"

    async def main():
        return [chunk async for chunk in model.astream(PROMPT, **options)]

    assert "".join(chunk.text for chunk in asyncio.run(main())) == whole.text


def test_a_receipt_of_a_guided_run_replays(model):
    out = model.generate(PROMPT, json_schema=PERSON, temperature=1.0, seed=9, max_tokens=200)
    again = genfast.replay(out.receipt)
    assert (again.steps, again.first_difference) == (len(out.token_ids), None)


# --- with drafts ---------------------------------------------------------------------------------

ROWS = {"type": "array", "minItems": 4, "maxItems": 6, "items": PERSON}
DRAFTED = [
    {"json_schema": ROWS},
    {"json_schema": ROWS, "temperature": 1.0, "repetition_penalty": 1.1, "logprobs": 2},
    {"regex": "(the cat sat on the mat, ){3,9}", "temperature": 1.0},
    {"choices": ["a single long answer that leaves no choice at all", "b"], "temperature": 1.0},
    {"regex": "(ab){2,30}(abz)?", "temperature": 2.0},
    {"grammar": 'start: "x" ("yes " | "no ")+ "end"', "temperature": 1.0},
]


@pytest.mark.parametrize("options", DRAFTED, ids=lambda options: next(iter(options)))
def test_drafts_change_nothing_but_the_steps(model, options):
    """Also where a draft runs into the grammar's end, or against the grammar."""
    accepted = model.stats()["accepted_tokens"]
    for seed in range(6):
        asked = {"temperature": 0, "seed": seed, "max_tokens": 120, **options}
        plain = model.generate(PROMPT, speculate=False, **asked)
        drafted = model.generate(PROMPT, speculate=True, **asked)
        assert drafted.token_ids == plain.token_ids
        assert (drafted.text, drafted.finish_reason) == (plain.text, plain.finish_reason)
        assert drafted.receipt.digests == plain.receipt.digests
        assert drafted.logprobs == plain.logprobs
    assert model.stats()["accepted_tokens"] > accepted


def test_what_a_grammar_forces_takes_fewer_steps(model):
    text = "an answer that is rather long and in no way to be had otherwise"
    steps = {}
    for speculate in (False, True):
        before = model.stats()["steps"]
        out = model.generate(PROMPT, choices=[text], speculate=speculate)
        assert out.text == text
        steps[speculate] = model.stats()["steps"] - before
    assert steps[True] < steps[False] / 2
