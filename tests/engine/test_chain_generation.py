"""The sampler chain in the engine: the same text in any batch, on any threads, after preemption."""

from __future__ import annotations

import numpy as np
import pytest

import genfast

SETTINGS = [
    {"typical_p": 0.6},
    {"top_n_sigma": 1.0},
    {"xtc_probability": 0.5, "xtc_threshold": 0.02},
    {"mirostat_tau": 3.0},
    {"dry_multiplier": 5.0, "dry_allowed_length": 1, "dry_sequence_breakers": [5, 6]},
    {"no_repeat_ngram_size": 2},
    {"repetition_penalty": 1.3, "presence_penalty": 0.5, "frequency_penalty": 0.2},
    {"bad_words_ids": [[4], [7, 8]], "suppress_tokens": [9], "begin_suppress_tokens": [10]},
    {"forced_tokens": [(0, 3), (5, 4)], "forced_eos_token_id": 11},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_same_text_alone_in_a_batch_and_with_other_threads(tiny, tiny_dir, prompts, settings):
    options = {"max_tokens": 24, "temperature": 1.1, "seed": 11, **settings}
    alone = [tiny.generate(p, **options).token_ids for p in prompts]
    assert [out.token_ids for out in tiny.generate(prompts, **options)] == alone
    with genfast.load(tiny_dir, threads=1) as other:
        assert [out.token_ids for out in other.generate(prompts, **options)] == alone
    assert len({tuple(tokens) for tokens in alone}) > 1


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_same_text_after_preemption(tiny, tiny_dir, prompts, settings):
    """A cache that holds few of them: requests give their pages back and come again."""
    options = {"max_tokens": 40, "temperature": 1.1, "seed": 11, **settings}
    expected = [out.token_ids for out in tiny.generate(prompts * 2, **options)]
    bytes_ = 8 * tiny.kv_page_bytes
    with genfast.load(tiny_dir, kv_cache_bytes=bytes_, prefix_cache=False) as small:
        assert [out.token_ids for out in small.generate(prompts * 2, **options)] == expected


def test_settings_change_the_text_and_neutral_ones_do_not(tiny, prompt):
    # Of so many texts one changes: a single one may never come to what is forbidden.
    options = {"max_tokens": 60, "temperature": 1.1, "seed": 11, "n": 16}

    def texts(**settings):
        out = tiny.generate(prompt, **options, **settings)
        return [out.token_ids, *(other.token_ids for other in out.others)]

    plain = texts()
    for settings in SETTINGS:
        assert texts(**settings) != plain, settings
    neutral = {"typical_p": 1, "top_n_sigma": 0, "xtc_probability": 0, "mirostat_tau": 0}
    neutral |= {"dry_multiplier": 0, "no_repeat_ngram_size": 0, "bad_words_ids": []}
    assert texts(**neutral) == plain


def test_greedy_is_unaffected_by_what_is_drawn_from(tiny, prompt):
    greedy = tiny.generate(prompt, max_tokens=20, temperature=0).token_ids
    for settings in ({"typical_p": 0.1}, {"top_n_sigma": 0.1}, {"top_k": 2}, {"seed": 4}):
        assert tiny.generate(prompt, max_tokens=20, temperature=0, **settings).token_ids == greedy


def test_forced_and_banned_tokens_in_the_output(tiny, prompt):
    out = tiny.generate(
        prompt,
        max_tokens=10,
        temperature=1.5,
        seed=1,
        forced_tokens=[(0, 3), (4, 7)],
        forced_eos_token_id=9,
        suppress_tokens=list(range(20, tiny.vocab_size)),
        begin_suppress_tokens=[4],
    ).token_ids
    assert (out[0], out[4], out[9]) == (3, 7, 9) and max(out) < 20
    one = tiny.generate([5], max_tokens=3, forced_bos_token_id=8).token_ids
    assert one[0] == 8
    longer = tiny.generate([5, 6], max_tokens=1).token_ids
    assert tiny.generate([5, 6], max_tokens=1, forced_bos_token_id=8).token_ids == longer
    everywhere = {"bad_words_ids": [[i] for i in range(tiny.vocab_size) if i != 30]}
    assert tiny.generate(prompt, max_tokens=5, **everywhere).token_ids == [30] * 5


def test_no_ngram_comes_twice(tiny, prompt):
    out = tiny.generate(prompt, max_tokens=200, no_repeat_ngram_size=3).token_ids
    text = prompt + out
    new = [tuple(text[i - 2 : i + 1]) for i in range(len(prompt), len(text))]
    old = [tuple(text[i - 2 : i + 1]) for i in range(2, len(prompt))]
    assert len(set(new)) == len(new) and not set(new) & set(old)


def test_entropy_and_margin_are_of_the_logits(tiny, prompt):
    out = tiny.generate(prompt, max_tokens=6, temperature=1.3, seed=2, top_k=5, logprobs=2)
    ids = list(prompt)
    total = 0.0
    for told in out.logprobs:
        logits = tiny.logits(ids)[-1].astype(np.float64)
        p = np.exp(logits - logits.max())
        p /= p.sum()
        first, second = np.sort(p)[::-1][:2]
        assert told.entropy == pytest.approx(-(p * np.log(p)).sum(), abs=1e-5)
        assert told.margin == pytest.approx(first - second, abs=1e-6)
        total += np.log(p[told.token_id])
        ids.append(told.token_id)
    assert out.logprob == pytest.approx(total, abs=1e-4)
    assert out.probability == pytest.approx(np.exp(total), rel=1e-3)


def test_a_receipt_replays_the_chain(tiny, tiny_dir, prompt, tmp_path):
    for settings in SETTINGS:
        out = tiny.generate(prompt, max_tokens=12, temperature=1.2, seed=8, **settings)
        out.receipt.save(tmp_path / "receipt.json")
        again = genfast.replay(genfast.Receipt.load(tmp_path / "receipt.json"), tiny_dir)
        assert again.first_difference is None and again.differences == []
