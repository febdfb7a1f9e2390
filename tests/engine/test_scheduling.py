"""Who is computed first, who is refused, and when a request ends before its tokens do."""

from __future__ import annotations

import threading

import pytest

import genfast
from cutting import cut_short
from idle import wait_until_idle

PAGES = 16  # 512 tokens: of two prompts of 300, one waits


@pytest.fixture
def narrow(tiny_dir):
    """A model whose cache holds one long request at a time."""
    with genfast.load(tiny_dir) as model:
        budget = PAGES * model.kv_page_bytes
    with genfast.load(tiny_dir, kv_cache_bytes=budget, queue_limit=3) as model:
        yield model


def long_prompt(model, rng):
    return rng.integers(0, model.vocab_size, 300).tolist()


def drain(streams):
    """Runs the streams to their ends; the order in which they ended, and their tokens."""
    order, tokens = [], {}

    def run(name, stream):
        tokens[name] = [t for chunk in stream for t in chunk.token_ids]
        order.append(name)

    threads = [threading.Thread(target=run, args=item) for item in streams.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return order, tokens


def test_a_higher_priority_goes_first_and_nobody_is_hurt(narrow, rng):
    prompts = {name: long_prompt(narrow, rng) for name in ("first", "usual", "urgent")}
    options = {"max_tokens": 150, "ignore_eos": True, "temperature": 1.0, "seed": 2}
    alone = {name: narrow.generate(ids, **options).token_ids for name, ids in prompts.items()}
    first = narrow.stream(prompts["first"], **options)
    started = next(first)
    rest = {
        "usual": narrow.stream(prompts["usual"], **options),
        "urgent": narrow.stream(prompts["urgent"], priority=1, **options),
    }
    order, tokens = drain({"first": first, **rest})
    assert order.index("urgent") < order.index("usual")
    tokens["first"] = started.token_ids + tokens["first"]
    assert tokens == alone  # the one that gave way to the urgent one too


def test_a_full_queue_says_so_and_loses_nothing(narrow, rng):
    options = {"max_tokens": 100, "ignore_eos": True}
    running = narrow.stream(long_prompt(narrow, rng), **options)
    next(running)
    waiting = [narrow.stream(long_prompt(narrow, rng), **options) for _ in range(3)]
    with pytest.raises(genfast.QueueFull, match="queue_limit=3"):
        narrow.generate(long_prompt(narrow, rng), **options)
    order, tokens = drain(dict(enumerate([running, *waiting])))
    assert len(order) == 4 and all(len(tokens[i]) == 100 for i in (1, 2, 3))
    assert len(narrow.generate([1, 2, 3], **options).token_ids) == 100


@pytest.mark.parametrize("count", [1, 3])
def test_a_cache_too_small_for_one_request_ends_it_with_length(narrow, rng, count):
    prompts = [long_prompt(narrow, rng) for _ in range(count)]
    for out in narrow.generate(prompts, max_tokens=400, ignore_eos=True):
        assert out.finish_reason == "length"
        assert len(out.token_ids) == 512 - 300 + 1  # the last one needs no place
    assert narrow.generate([1, 2], max_tokens=5, ignore_eos=True).finish_reason == "length"


def test_a_deadline_ends_what_runs_with_what_there_is(tiny, prompt):
    out = cut_short(tiny, prompt)
    assert len(out.token_ids) < 1000
    whole = tiny.generate(prompt, max_tokens=1000, ignore_eos=True)
    assert whole.token_ids[: len(out.token_ids)] == out.token_ids
    wait_until_idle(tiny)
    assert tiny.stats()["kv_pages_used"] == 0


def test_a_deadline_that_cannot_be_met_is_refused_at_once(tiny, rng):
    ids = long_prompt(tiny, rng)
    tiny.generate(ids, max_tokens=4)  # now it is known what a step costs
    steps = tiny.stats()["steps"]
    other = long_prompt(tiny, rng)
    with pytest.raises(genfast.DeadlineError, match=r"300 prompt tokens"):
        tiny.generate(other, deadline_ms=0.001)
    assert tiny.stats()["steps"] == steps
    assert tiny.generate(other, max_tokens=4, deadline_ms=60_000).finish_reason == "length"


@pytest.mark.parametrize(
    "options", [{"deadline_ms": 0}, {"deadline_ms": -1}, {"deadline_ms": "1"}, {"priority": 0.5}]
)
def test_wrong_values_are_refused(tiny, prompt, options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        tiny.generate(prompt, **options)


@pytest.mark.parametrize("options", [{"queue_limit": 0}, {"prefix_cache": "yes"}])
def test_wrong_load_options_are_refused(tiny_dir, options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        genfast.load(tiny_dir, **options)


def test_a_long_prompt_comes_in_pieces_while_others_decode(tiny_dir, rng):
    """How large they are is the cost model's affair, which a busy machine may mislead for a moment;
    that they are several is a promise."""
    with genfast.load(tiny_dir) as model:
        model.generate(long_prompt(model, rng), max_tokens=50, ignore_eos=True)
        pieces = []
        while len(pieces) < 5 and max(pieces, default=0) < 3:  # alone it is one step
            stream = model.stream([1, 2, 3], max_tokens=900, ignore_eos=True)
            next(stream)
            before = model.stats()["steps"]
            model.generate(long_prompt(model, rng), max_tokens=1)
            pieces.append(model.stats()["steps"] - before)
            stream.close()
        assert max(pieces) >= 3, pieces
