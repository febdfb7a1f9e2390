"""Guided beam search: every text matches, the best is found, and nothing else changes it."""

from __future__ import annotations

import gc
import json
import re
import threading

import pytest

import genfast
from genfast import _core
from idle import wait_until_idle
from silent_guide import Silent

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
PROMPT = "Once upon a time"
LATIN = r"[a-z]{2,9}( [a-z]{2,9}){1,3}\."
END = 8  # of the letters


@pytest.fixture(scope="module")
def model():
    with genfast.load() as model:
        yield model


def found(out):
    """All that a search answers, to the bit."""
    return [(c.token_ids, c.score, c.finish_reason, c.receipt.digests) for c in out.choices]


def test_it_takes_as_many_matchers_as_there_are_beams(model):
    out = model.generate(PROMPT, json_schema=PERSON, num_beams=4, n=4, max_tokens=60)
    assert [c.finish_reason for c in out.choices] == ["stop"] * 4
    assert len({c.text for c in out.choices}) == 4
    scores = [c.score for c in out.choices]
    assert scores == sorted(scores, reverse=True)
    for choice in out.choices:
        person = json.loads(choice.text)
        assert set(person) == {"name", "age"} and 0 <= person["age"] <= 120


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 2},
        {"num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 1.0},
        {"num_beams": 6, "early_stopping": True},
        {"num_beams": 5, "early_stopping": "never", "length_penalty": 2.0},
        {"num_beams": 4, "length_penalty": -1.0},
        {"num_beams": 4, "repetition_penalty": 1.4, "no_repeat_ngram_size": 2},
    ],
    ids=str,
)
def test_every_text_matches(model, options):
    for grammar in ({"regex": LATIN}, {"choices": ["yes", "yes!", "no, never", "a\nb"]}):
        out = model.generate(PROMPT, max_tokens=50, n=options["num_beams"], **options, **grammar)
        assert out.choices
        for choice in out.choices:
            assert choice.finish_reason == "stop"
            if "regex" in grammar:
                assert re.fullmatch(LATIN, choice.text)
            else:
                assert choice.text in grammar["choices"]


# --- the best ------------------------------------------------------------------------------------


def spelled(text, choices):
    """The tokens of a choice; an end token where it might go on."""
    ids = ["abcdefgh".index(letter) for letter in text]
    goes_on = any(other != text and other.startswith(text) for other in choices)
    return ids + [END] * goes_on


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 1.7])
def test_with_beams_enough_the_best_of_all_texts_is_found(letters, rng, length_penalty):
    prompt = rng.integers(0, 8, 9).tolist()
    choices = {
        "".join(rng.choice(list("abcdefgh"), rng.integers(1, 6))) for _ in range(24)
    }  # some the beginnings of others
    choices |= {"ab", "abc", "abcde"}
    texts = {}
    for text in sorted(choices):
        tokens = spelled(text, choices)
        logprobs = letters.score(prompt + tokens).logprobs[-len(tokens) :]
        texts[text] = sum(logprobs) / len(tokens) ** length_penalty
    best = sorted(texts, key=lambda text: -texts[text])
    out = letters.generate(
        prompt,
        choices=sorted(choices),
        num_beams=64,
        n=len(best),
        early_stopping="never",
        length_penalty=length_penalty,
    )
    assert [c.text for c in out.choices] == best
    assert [c.token_ids for c in out.choices] == [spelled(text, choices) for text in best]
    assert [c.score for c in out.choices] == pytest.approx([texts[t] for t in best], rel=1e-5)
    assert {c.finish_reason for c in out.choices} == {"stop"}


def test_logprobs_and_receipts_are_the_models_own(letters, letters_dir):
    out = letters.generate("abc", regex="(ab|cd|e)+", num_beams=3, n=3, max_tokens=9, logprobs=2)
    for choice in out.choices:
        ids = letters.tokenizer.encode("abc") + choice.token_ids
        told = letters.score(ids).logprobs[-len(choice.token_ids) :]
        assert [entry.logprob for entry in choice.logprobs] == pytest.approx(told, abs=4e-6)
        assert choice.score == pytest.approx(sum(told) / len(told), rel=1e-5)
        replay = genfast.replay(choice.receipt, letters_dir)
        assert (replay.steps, replay.first_difference) == (len(choice.token_ids), None)


def test_a_text_that_was_cut_off_comes_after_those_that_match(letters):
    """However likely it is."""
    wish = {0: 50.0}
    regex = "a{60}|b|cd"
    out = letters.generate("ab", regex=regex, num_beams=3, n=3, max_tokens=20, logit_bias=wish)
    assert [c.finish_reason for c in out.choices] == ["stop", "stop", "length"]
    assert {c.text for c in out.choices[:2]} == {"b", "cd"} and out.choices[2].text == "a" * 20


# --- ends ----------------------------------------------------------------------------------------


def test_a_beam_in_a_dead_end_makes_room_for_others(letters):
    """No token of this model has a z."""
    regex = "(ab){2}z|ch|gz"
    for groups in ({}, {"num_beam_groups": 2, "diversity_penalty": 0.5}):
        out = letters.generate("ab", regex=regex, num_beams=4, n=4, max_tokens=9, **groups)
        assert {(c.text, c.finish_reason) for c in out.choices} == {("ch", "stop")}


@pytest.mark.parametrize("regex", ["abz", "z", "a(bz|cz)", "(ab){6}z|[a-c]z"])
def test_dead_ends_everywhere_are_told_and_do_not_hang(letters, regex):
    out = letters.generate("ab", regex=regex, num_beams=4, n=4, max_tokens=50)
    (only,) = out.choices
    assert (only.finish_reason, only.text, only.token_ids) == ("grammar", "", [])
    chunks = list(letters.stream("ab", regex=regex, num_beams=4, max_tokens=50))
    assert chunks[-1].finish_reason == "grammar"
    wait_until_idle(letters)


def test_a_dead_end_by_other_keywords(letters):
    out = letters.generate("ab", regex="a", suppress_tokens=[0], num_beams=2, max_tokens=9)
    assert (out.finish_reason, out.token_ids) == ("grammar", [])


def test_required_phrases_are_part_of_what_must_match(letters):
    options = {"num_beams": 6, "n": 6, "max_tokens": 12}
    out = letters.generate("ab", regex="[a-d]{4}", required=["ca"], **options)
    assert all(re.fullmatch("[a-d]{4}", c.text) and "ca" in c.text for c in out.choices)
    out = letters.generate("ab", regex="[a-d]{4}", required=["e"], **options)
    assert [c.finish_reason for c in out.choices] == ["grammar"]


def test_an_empty_text_may_be_all(letters):
    out = letters.generate("ab", regex="a{0}", num_beams=3)
    assert (out.text, out.token_ids, out.finish_reason) == ("", [], "stop")


def test_grammar_error_names_the_keyword(model):
    with pytest.raises(genfast.GrammarError, match="regex"):
        model.generate(PROMPT, regex="(", num_beams=3)


# --- beside others -------------------------------------------------------------------------------

ASKED = [
    {"regex": LATIN, "num_beams": 4, "n": 4},
    {"json_schema": PERSON, "temperature": 1.0, "seed": 3},
    {"json_schema": PERSON, "num_beams": 3, "n": 2, "logprobs": 2},
    {"num_beams": 4, "n": 4, "max_tokens": 30},
    {"regex": "(the cat sat on the mat, ){3,9}", "num_beams": 2, "n": 2},
    {"choices": ["left", "right"], "num_beams": 2, "n": 2},
    {"temperature": 0, "max_tokens": 40},
]


def test_beside_others_each_gets_what_it_gets_alone(model):
    def answer(one, options):
        return found(one.generate(PROMPT, **{"max_tokens": 70, **options}))

    alone = [answer(model, options) for options in ASKED]
    together = [None] * len(ASKED)

    def ask(index):
        together[index] = answer(model, ASKED[index])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(ASKED))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    for options in ({"threads": 1}, {"prefix_cache": False}):
        with genfast.load(**options) as other:
            assert [answer(other, asked) for asked in ASKED] == alone


def test_short_of_pages_it_comes_back_to_the_same(letters_dir, rng):
    """Searches that give their pages back and take them again; their grammars stay where they
    were."""
    prompts = [rng.integers(0, 8, n).tolist() for n in (5, 40, 33)]
    guided = {"regex": "((ab|cd)[e-h]{3,5}){60}", "num_beams": 4, "n": 4, "max_tokens": 90}
    with genfast.load(letters_dir) as model:
        expected = [found(model.generate(ids, **guided)) for ids in prompts]
        page = model.kv_bytes_per_token * 32
    with genfast.load(letters_dir, kv_cache_bytes=32 * page) as model:
        streams = [model.stream(ids, **guided) for ids in prompts]
        model.generate(prompts[1], max_tokens=150, priority=1)
        for stream, want in zip(streams, expected, strict=True):
            chunks = sorted(stream, key=lambda chunk: chunk.index)
            assert [c.token_ids for c in chunks] == [tokens for tokens, *_ in want]
        wait_until_idle(model)


BEAMS = _core.BeamParams(count=3)


def test_cancelling_while_masks_are_awaited(model):
    silent = Silent(model)
    request = silent.submit(model, beams=BEAMS)
    assert silent.queue.take() is not None  # a step is done
    model._engine.cancel(request)
    assert request.wait(50, 10)
    assert request.snapshot()["finish_reason"] == "cancelled"
    wait_until_idle(model)


def test_a_deadline_while_masks_are_awaited(model):
    request = Silent(model).submit(model, deadline_seconds=0.5, beams=BEAMS)
    assert request.wait(50, 10)
    assert request.snapshot()["finish_reason"] == "deadline"
    assert len(request.hypotheses()) == 3  # of one token each
    wait_until_idle(model)


def test_a_guide_that_breaks_down_ends_its_request_alone(model):
    silent = Silent(model)
    request = silent.submit(model, beams=BEAMS)
    silent.queue.take().fail("out of ideas")
    assert request.wait(50, 10)
    state = request.snapshot()
    assert (state["finish_reason"], state["error"]) == ("error", "out of ideas")
    wait_until_idle(model)
    assert model.generate(PROMPT, num_beams=2, max_tokens=2).finish_reason == "length"


def test_nothing_is_left_behind():
    with genfast.load() as model:
        for _ in range(5):
            model.stream(PROMPT, regex="[a-z ]*", num_beams=4, max_tokens=400).close()
        model.generate(PROMPT, regex=LATIN, num_beams=4, n=4, max_tokens=40)
        wait_until_idle(model)
        gc.collect()
        assert len(model._grammars._guides) <= 1  # that of the last request the thread saw
