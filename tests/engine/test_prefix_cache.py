"""Prompts that begin alike share pages: fewer tokens computed, the same answers, nothing leaked."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import genfast
from idle import wait_until_idle

OPTIONS = {"max_tokens": 12, "temperature": 0.9, "seed": 5, "logprobs": 3, "ignore_eos": True}


def answer(result):
    return result.token_ids, result.logprobs


@pytest.fixture
def cold(tiny_dir):
    with genfast.load(tiny_dir, prefix_cache=False) as model:
        yield model


@pytest.fixture
def warm(tiny_dir):
    with genfast.load(tiny_dir) as model:
        yield model


def test_without_a_prefix_cache_nothing_is_kept(cold, prompt):
    for _ in range(2):
        assert cold.generate(prompt * 4, **OPTIONS).usage.cached_tokens == 0
    assert cold.stats()["kv_pages_kept"] == 0


@pytest.mark.parametrize("length", [2, 31, 32, 33, 64, 97])
def test_the_same_prompt_again_computes_one_token(warm, cold, rng, length):
    ids = rng.integers(0, warm.vocab_size, length).tolist()
    first, again = warm.generate(ids, **OPTIONS), warm.generate(ids, **OPTIONS)
    assert first.usage.cached_tokens == 0
    # Prompt and answer leave whole pages; of a page that is not whole nothing is known.
    whole = (length + OPTIONS["max_tokens"] - 1) // 32 * 32
    assert again.usage.cached_tokens == min(whole, length - 1)
    assert answer(first) == answer(again) == answer(cold.generate(ids, **OPTIONS))


def test_prompts_that_part_within_a_page(warm, cold, rng):
    """Any common beginning counts, to the token; the page where they part is copied."""
    base = rng.integers(0, warm.vocab_size, 200).tolist()
    warm.generate(base, **OPTIONS)
    for common in (1, 5, 31, 32, 40, 95, 199):
        other = [*base[:common], (base[common] + 1) % warm.vocab_size, *base[:20]]
        out = warm.generate(other, **OPTIONS)
        assert out.usage.cached_tokens == min(common, 192)  # of 200 tokens, six pages are whole
        assert answer(out) == answer(cold.generate(other, **OPTIONS))
    assert answer(warm.generate(base, **OPTIONS)) == answer(cold.generate(base, **OPTIONS))


def test_a_conversation_goes_on_from_its_own_pages(warm, rng):
    ids = rng.integers(0, warm.vocab_size, 50).tolist()
    for _ in range(4):
        out = warm.generate(ids, max_tokens=40, ignore_eos=True)
        ids = ids + out.token_ids + rng.integers(0, warm.vocab_size, 10).tolist()
        again = warm.generate(ids, max_tokens=1)
        assert again.usage.cached_tokens >= len(ids) - 10 - 32


def test_choices_and_batches_compute_their_prefix_once(warm, rng):
    ids = rng.integers(0, warm.vocab_size, 640).tolist()
    out = warm.generate(ids, n=5, max_tokens=2, temperature=1.0, seed=1, ignore_eos=True)
    assert len(out.choices) == 5
    # 640 tokens once, then one token of each copy, and the tokens generated.
    assert warm.stats()["tokens"] <= 640 + 4 * 2 + 5
    before = warm.stats()["tokens"]
    heads = [[*ids[::-1], i] for i in range(6)]
    warm.generate(heads, max_tokens=1)
    assert warm.stats()["tokens"] - before <= 641 + 5 * 2


def test_a_full_cache_gives_up_what_was_unused_for_longest(tiny_dir, rng):
    with genfast.load(tiny_dir) as model:
        budget = 32 * model.kv_page_bytes
    with genfast.load(tiny_dir, kv_cache_bytes=budget) as model:
        prompts = [rng.integers(0, model.vocab_size, 320).tolist() for _ in range(6)]
        for ids in prompts:
            model.generate(ids, max_tokens=1)
        assert model.generate(prompts[-1], max_tokens=1).usage.cached_tokens == 319
        # Another prompt may happen to begin with the same token or two.
        assert model.generate(prompts[0], max_tokens=1).usage.cached_tokens < 32
        stats = model.stats()
        assert stats["kv_pages_used"] == 0 and stats["kv_pages_free"] == stats["kv_pages"] == 32


# One request of a mix: (which common beginning, how much of it, own tokens, new tokens, its fate).
REQUEST = st.tuples(
    st.integers(0, 2), st.integers(0, 120), st.integers(1, 40), st.integers(1, 40),
    st.sampled_from(["finish", "cancel", "deadline", "score", "refused"]),
)  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(requests=st.lists(REQUEST, min_size=1, max_size=24))
def test_no_page_is_lost_whatever_becomes_of_requests(tiny_dir, requests):
    """Any mix of finishing, cancelling, deadlines and errors, in a cache of three runs, where
    requests wait and are preempted: every answer is right and every page comes back."""
    rng = np.random.default_rng(3)
    heads = rng.integers(0, 97, (3, 120)).tolist()
    with genfast.load(tiny_dir, kv_cache_bytes=48 * small_page(tiny_dir)) as model:
        streams, scores = [], []
        for index, (head, common, own, new, fate) in enumerate(requests):
            ids = heads[head][:common] + rng.integers(0, 97, own).tolist()
            options = {"max_tokens": new, "temperature": 1.0, "seed": index, "ignore_eos": True}
            if fate == "refused":
                with pytest.raises(ValueError):
                    model.generate([*ids, 97], **options)
            elif fate == "score":
                scores.append(threading.Thread(target=model.score, args=(ids,)))
                scores[-1].start()
            elif fate == "deadline":
                try:
                    streams.append((None, model.stream(ids, deadline_ms=2, **options)))
                except genfast.DeadlineError:
                    continue
            else:
                streams.append((fate == "finish" and (ids, options), model.stream(ids, **options)))
        for expected, stream in streams:
            if expected is False:
                stream.close()
                continue
            tokens = [t for chunk in stream for t in chunk.token_ids]
            if expected:
                ids, options = expected
                assert tokens == model.generate(ids, **options).token_ids
        for thread in scores:
            thread.join()
        wait_until_idle(model)
        stats = model.stats()
        assert stats["kv_pages_used"] == 0
        assert stats["kv_pages_free"] == stats["kv_pages"] == 48


_page_bytes = {}


def small_page(directory):
    if directory not in _page_bytes:
        with genfast.load(directory) as model:
            _page_bytes[directory] = model.kv_page_bytes
    return _page_bytes[directory]
