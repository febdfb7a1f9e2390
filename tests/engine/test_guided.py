"""Guided output: what comes out matches, whoever else is there, and ends as it should."""

from __future__ import annotations

import asyncio
import json
import re
import threading

import numpy as np
import pytest

import genfast
import tiny_model
from genfast import _core
from genfast.grammar import Grammar
from idle import wait_until_idle

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


# --- ends and errors ---------------------------------------------------------------------------

TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 12,  # three more than the tokenizer below knows
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """A random model whose tokens are the letters a to h, and an end token."""
    directory = tmp_path_factory.mktemp("letters")
    tiny_model.write_model(directory, TINY, seed=3)
    vocab = {c: i for i, c in enumerate("abcdefgh")}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": 8,
                "content": "<end>",
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
        ],
        "decoder": {"type": "Metaspace", "prepend_scheme": "never", "replacement": "▁"},
        "model": {"type": "BPE", "vocab": {**vocab, "<end>": 8}, "merges": []},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    with genfast.load(directory) as model:
        yield model


@pytest.mark.parametrize("regex", ["abz", "[a-c]z", "z", "a(bz|cz)"])
def test_a_dead_end_is_told_and_does_not_hang(letters, regex):
    out = letters.generate("ab", regex=regex, max_tokens=50)
    assert out.finish_reason == "grammar"
    assert "z" not in out.text and len(out.token_ids) < 3


def test_a_dead_end_by_other_keywords(letters):
    """The grammar demands what min_tokens forbids: nothing is left."""
    out = letters.generate("ab", regex="a", stop_token_ids=[0], min_tokens=5, max_tokens=9)
    assert (out.finish_reason, out.token_ids) == ("grammar", [])


def test_tokens_that_the_tokenizer_does_not_know_are_never_taken(letters):
    for seed in range(20):
        out = letters.generate("ab", regex="(.|\n)*", temperature=5, seed=seed, ignore_eos=True)
        assert max(out.token_ids) < 8


def test_without_a_tokenizer(tmp_path):
    directory = tiny_model.write_model(tmp_path / "ids", TINY, seed=1)
    with (
        genfast.load(directory) as model,
        pytest.raises(ValueError, match="regex needs a tokenizer"),
    ):
        model.generate([1, 2], regex="a")


def test_a_missing_package_is_named(model, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llguidance", None)
    with pytest.raises(ImportError, match=r"pip install 'genfast\[guided\]'"):
        model.generate(PROMPT, regex="a")


def test_a_grammar_that_grows_too_complex_says_so(model):
    """Hundreds of ways to read every prefix."""
    lark = "start: " + " | ".join(f'"a" x{i}' for i in range(3000)) + "\n"
    lark += "\n".join(f'x{i}: "b{i}"' for i in range(3000))
    with pytest.raises(genfast.GrammarError, match="grammar: "):
        model.generate(PROMPT, grammar=lark, max_tokens=5)
    assert model.generate(PROMPT, max_tokens=2).finish_reason == "length"


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


def test_a_dead_end_within_a_draft(letters):
    """abababz: the z that the grammar wants next is no token of this model."""
    for seed in range(5):
        options = {"regex": "(ab){6}z", "seed": seed, "temperature": 1.0}
        plain = letters.generate("ab", speculate=False, **options)
        drafted = letters.generate("ab", speculate=True, **options)
        assert plain.finish_reason == drafted.finish_reason == "grammar"
        assert plain.token_ids == drafted.token_ids


# --- waiting -----------------------------------------------------------------------------------


class Silent:
    """A guide that answers once, as one does that thinks for long."""

    def __init__(self, model):
        self.queue = _core.MaskQueue()
        self.masks = _core.TokenMasks(self.queue, 0, model.vocab_size + 1)
        self.masks.words(0)[:] = 0xFFFFFFFF
        self.masks.answer(["open"])

    def submit(self, model, max_tokens=50):
        ids = model.tokenizer.encode(PROMPT)
        return model._engine.submit(ids, max_tokens, masks=self.masks)


def test_cancelling_while_a_mask_is_awaited(model):
    silent = Silent(model)
    request = silent.submit(model)
    assert request.wait(1, 10)
    model._engine.cancel(request)
    assert request.wait(50, 10)
    assert request.snapshot()["finish_reason"] == "cancelled"
    wait_until_idle(model)


def test_a_deadline_while_a_mask_is_awaited(model):
    silent = Silent(model)
    ids = model.tokenizer.encode(PROMPT)
    request = model._engine.submit(ids, 50, masks=silent.masks, deadline_seconds=0.5)
    assert request.wait(50, 10)
    assert request.snapshot()["finish_reason"] == "deadline"


def test_closing_while_a_mask_is_awaited():
    with genfast.load() as model:
        silent = Silent(model)
        request = silent.submit(model)
        assert request.wait(1, 10)
    assert request.wait(50, 10)
    assert request.snapshot()["finish_reason"] == "cancelled"


def test_a_guide_that_breaks_down_ends_its_request_alone(model):
    silent = Silent(model)
    request = silent.submit(model)
    silent.queue.take().fail("out of ideas")
    assert request.wait(50, 10)
    state = request.snapshot()
    assert (state["finish_reason"], state["error"]) == ("error", "out of ideas")
    assert model.generate(PROMPT, max_tokens=2).finish_reason == "length"


def test_a_queue_that_is_closed_fails_what_is_posted(model):
    silent = Silent(model)
    silent.queue.close()
    request = silent.submit(model)
    assert request.wait(50, 10)
    assert "has ended" in request.snapshot()["error"]


def test_a_full_queue_leaves_nothing_behind():
    with genfast.load(queue_limit=1) as model:
        with pytest.raises(genfast.QueueFull):
            model.generate([PROMPT] * 200, regex="[a-z ]*", max_tokens=200)
        wait_until_idle(model)
        assert model.generate(PROMPT, choices=["ok"]).text == "ok"
        assert len(model._grammars._guides) <= 1


def test_closed_streams_leave_no_guides(model):
    for _ in range(5):
        model.stream(PROMPT, regex="[a-z ]*", max_tokens=400).close()
    wait_until_idle(model)
    assert model.generate(PROMPT, choices=["ok"]).text == "ok"


# --- the mask itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("vocabulary", [1, 31, 32, 33, 1000, 4096])
def test_a_mask_leaves_the_best_of_the_allowed(rng, vocabulary):
    logits = rng.normal(size=vocabulary).astype(np.float32)
    for share in (0.0, 0.02, 0.5, 1.0):
        allowed = rng.random(vocabulary) < share
        bits = np.zeros(-(-vocabulary // 32) * 32, np.uint8)
        bits[:vocabulary] = allowed
        words = np.packbits(bits, bitorder="little").view(np.uint32)
        sampler = _core.Sampler(_core.SamplingParams(), [])
        token, _, _, edited = sampler.next(logits, 0, allowed=words)
        expected = np.where(allowed, logits, -np.inf).astype(np.float32)
        assert np.asarray(edited, np.float32).tobytes() == expected.tobytes()
        assert token == (int(np.argmax(expected)) if allowed.any() else -1)


def test_a_grammar_is_compiled_once_a_model(model):
    model.generate(PROMPT, choices=["once"])
    compiled = model._grammars._compiled
    (first,) = [m for g, m in compiled.items() if g.source == '["once"]']
    model.generate(PROMPT, choices=["once"])
    (second,) = [m for g, m in compiled.items() if g.source == '["once"]']
    assert first is second and isinstance(next(iter(compiled)), Grammar)
