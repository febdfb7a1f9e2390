"""Classifier-free guidance: two prompts continued alike, in one engine with everybody else."""

from __future__ import annotations

import dataclasses

import pytest

import genfast
import guided

DRAWN = {"max_tokens": 40, "ignore_eos": True, "temperature": 1.0, "seed": 3}


def test_each_token_is_that_of_both_logits(tiny, prompts):
    """Also of prompts of one token, and where one is far longer than the other."""
    for ids, negative in zip(prompts, reversed(prompts), strict=True):
        guided.check(tiny, ids, negative, scale=2.5, tokens=6)


def test_the_same_bits_beside_others_and_on_other_threads(tiny_dir, prompts):
    seen = set()
    for threads, caching in ((1, True), (2, False)):
        with genfast.load(tiny_dir, threads=threads, prefix_cache=caching) as model:
            options = {**DRAWN, "guidance_scale": 3.0, "negative_prompt": prompts[4]}
            for _ in range(2):
                alone = model.generate(prompts[5], **options)
                seen.add(tuple(alone.receipt.digests))
            beside = model.generate([prompts[6], prompts[5], prompts[5][:9]], **options)[1]
            seen.add(tuple(beside.receipt.digests))
            plain = model.generate(prompts[5], **DRAWN)
            assert plain.token_ids != alone.token_ids
    assert len(seen) == 1


def test_it_waits_for_pages_and_gives_way(tiny_dir, rng):
    """Twice the pages of one prompt; the cache has room for one such request at a time."""
    ids = [rng.integers(0, 97, 150).tolist() for _ in range(3)]
    options = {**DRAWN, "max_tokens": 100, "guidance_scale": 1.5, "negative_prompt": ids[2]}
    with genfast.load(tiny_dir) as model:
        alone = [model.generate(i, **options).token_ids for i in ids[:2]]
        pages = 16 * model.kv_page_bytes
    with genfast.load(tiny_dir, kv_cache_bytes=pages) as model:
        assert [out.token_ids for out in model.generate(ids[:2], **options)] == alone
        first = model.stream(ids[0], **options)
        started = next(first)
        urgent = model.generate(ids[1], priority=1, **options)
        rest = [token for chunk in first for token in chunk.token_ids]
        assert urgent.token_ids == alone[1] and started.token_ids + rest == alone[0]
        longer = rng.integers(0, 97, 300).tolist()
        with pytest.raises(ValueError, match="the prompt needs 20 KV pages, the cache has 16"):
            model.generate(longer, **{**options, "negative_prompt": longer})
        cut = model.generate(longer, **{**options, "negative_prompt": ids[2], "max_tokens": 400})
        assert cut.finish_reason == "length" and len(cut.token_ids) < 100
        assert model.stats()["kv_pages_used"] == 0


def test_where_it_ends_does_not_depend_on_what_is_shared(tiny_dir, rng):
    """A prompt that is in the cache already is shared with a negative one that begins alike."""
    ids = rng.integers(0, 97, 200).tolist()
    options = {**DRAWN, "max_tokens": 300, "guidance_scale": 1.5, "negative_prompt": ids[:-3]}
    ends = []
    for kept in (False, True):
        with genfast.load(tiny_dir) as model:
            pages = 16 * model.kv_page_bytes
        with genfast.load(tiny_dir, kv_cache_bytes=pages, prefix_cache=kept) as model:
            model.generate(ids, max_tokens=1)
            out = model.generate(ids, **options)
            assert kept == (out.usage.cached_tokens > 0)
            ends.append((out.token_ids, out.finish_reason))
    assert ends[0] == ends[1] and ends[0][1] == "length" and 40 < len(ends[0][0]) < 100


def test_the_context_ends_with_the_longer_prompt(letters):
    most = letters.context_length
    negative = [1] * (most - 3)
    out = letters.generate([2], **DRAWN, guidance_scale=2, negative_prompt=negative)
    assert out.finish_reason == "length" and len(out.token_ids) == 4


def test_a_receipt_holds_it(tiny, tiny_dir, prompts):
    options = {**DRAWN, "guidance_scale": 1.5, "negative_prompt": prompts[4]}
    receipt = tiny.generate(prompts[2], **options).receipt
    assert genfast.replay(receipt, tiny_dir).first_difference is None
    changed = {**receipt.parameters, "guidance_scale": 1.6}
    other = dataclasses.replace(receipt, parameters=changed)
    assert genfast.replay(other, tiny_dir).first_difference == 0


def test_with_a_grammar_and_texts(letters):
    out = letters.generate(
        "ab", regex="(ab|cd){3}", guidance_scale=4, negative_prompt="ef", max_tokens=9
    )
    assert out.finish_reason == "stop" and len(out.text) == 6
    assert set(out.text[::2]) <= set("ac")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"negative_prompt": "a"}, "negative_prompt='a' needs a guidance_scale"),
        ({"guidance_scale": 2, "num_beams": 2}, "guidance_scale=2.0 and num_beams=2"),
        ({"guidance_scale": 2, "speculate": True}, "guidance_scale=2.0 and speculate=True"),
        ({"guidance_scale": -1}, "guidance_scale=-1 is not allowed; allowed: a number from 0"),
        ({"guidance_scale": 2, "negative_prompt": []}, "negative_prompt is empty"),
        ({"guidance_scale": 2, "negative_prompt": [99]}, r"negative_prompt\[0\] is token 99"),
        ({"guidance_scale": 2, "negative_prompt": 3}, "negative_prompt=3 is not allowed"),
    ],
)
def test_what_does_not_go_together_is_refused(letters, options, message):
    with pytest.raises(ValueError, match=message):
        letters.generate("ab", **options)


def test_a_draft_is_refused(letters, letters_dir):
    with pytest.raises(ValueError, match=r"draft=.* and guidance_scale=2"):
        letters.generate("ab", guidance_scale=2, draft=str(letters_dir))
