"""Guided output: how it ends, whatever goes wrong, and who waits for whom."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import genfast
from genfast import _core
from genfast.grammar import Grammar
from idle import wait_until_idle
from silent_guide import Silent

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def model():
    with genfast.load() as model:
        yield model


# --- ends and errors ---------------------------------------------------------------------------


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


def test_without_a_tokenizer(tiny):
    with pytest.raises(ValueError, match="regex needs a tokenizer"):
        tiny.generate([1, 2], regex="a")


def test_a_missing_package_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(ImportError, match=r"pip install 'genfast\[guided\]'"):
        model.generate(PROMPT, regex="a")


def test_a_grammar_that_grows_too_complex_says_so(model):
    """Hundreds of ways to read every prefix."""
    lark = "start: " + " | ".join(f'"a" x{i}' for i in range(3000)) + "\n"
    lark += "\n".join(f'x{i}: "b{i}"' for i in range(3000))
    with pytest.raises(genfast.GrammarError, match="grammar: "):
        model.generate(PROMPT, grammar=lark, max_tokens=5)
    assert model.generate(PROMPT, max_tokens=2).finish_reason == "length"


def test_a_dead_end_within_a_draft(letters):
    """abababz: the z that the grammar wants next is no token of this model."""
    for seed in range(5):
        options = {"regex": "(ab){6}z", "seed": seed, "temperature": 1.0}
        plain = letters.generate("ab", speculate=False, **options)
        drafted = letters.generate("ab", speculate=True, **options)
        assert plain.finish_reason == drafted.finish_reason == "grammar"
        assert plain.token_ids == drafted.token_ids


# --- waiting -----------------------------------------------------------------------------------


def test_cancelling_while_a_mask_is_awaited(model):
    silent = Silent(model)
    request = silent.submit(model)
    assert request.wait(1, 10)
    model._engine.cancel(request)
    assert request.wait(50, 10)
    assert request.snapshot()["finish_reason"] == "cancelled"
    wait_until_idle(model)


def test_a_deadline_while_a_mask_is_awaited(model):
    request = Silent(model).submit(model, deadline_seconds=0.5)
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
