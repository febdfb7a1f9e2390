"""`window` and `sinks` of `genfast.load`: what is seen, and what memory that takes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genfast
import tiny_model

PLAIN = {"dtype": "float32", "kv_dtype": "float32", "threads": 1}


@pytest.fixture(scope="module")
def one_layer(tiny_dir, tmp_path_factory):
    """With one layer only, what a token sees can be cut out of the prompt."""
    directory = tmp_path_factory.mktemp("one_layer")
    config = json.loads((tiny_dir / "config.json").read_text())
    return tiny_model.write_model(directory, config | {"num_hidden_layers": 1}, seed=3)


def test_only_the_window_and_the_sinks_are_seen(one_layer, rng):
    """Of one layer: logits of the last token follow the tokens in sight, and no others."""
    ids = rng.integers(0, 97, 200)
    window, sinks = 40, 3
    in_sight = np.r_[0:sinks, 160:200]
    with genfast.load(one_layer, window=window, sinks=sinks, **PLAIN) as model:
        expected = model.logits(ids.tolist(), start=199)
        for position in (0, sinks - 1, sinks, 100, 159, 160, 198):
            other = ids.copy()
            other[position] = (other[position] + 1) % 97
            same = np.array_equal(model.logits(other.tolist(), start=199), expected)
            assert same == (position not in in_sight), position


def test_a_window_that_shows_everything_changes_little(tiny_dir, prompt):
    """Sinks are summed apart: other roundings, the same sum."""
    with genfast.load(tiny_dir, **PLAIN) as model:
        expected = model.logits(prompt)
    with genfast.load(tiny_dir, window=1000, **PLAIN) as model:
        assert model.logits(prompt).tobytes() == expected.tobytes()
    with genfast.load(tiny_dir, window=1000, sinks=4, **PLAIN) as model:
        np.testing.assert_allclose(model.logits(prompt), expected, rtol=0, atol=1e-4)


def test_prefill_and_decode_agree(tiny_dir, prompt):
    with genfast.load(tiny_dir, window=24, sinks=4) as model:
        out = model.generate(prompt, max_tokens=120, logprobs=0, ignore_eos=True)
        score = model.score(prompt + out.token_ids)
    assert [entry.logprob for entry in out.logprobs] == score.logprobs[len(prompt) :]


def test_pages_behind_the_window_are_given_back(tiny_dir, prompt):
    """800 tokens through four pages of 32: the sinks', the window's two and one begun."""
    options = {"max_tokens": 800, "ignore_eos": True, "temperature": 1.0, "seed": 1}
    with genfast.load(tiny_dir, window=33, sinks=4) as model:
        used = [model.stats()["kv_pages_used"] for _ in model.stream(prompt, **options)]
        expected = model.generate(prompt, **options).token_ids
        budget = 16 * model.kv_page_bytes
    assert 0 < max(used) <= 4
    with genfast.load(tiny_dir, window=33, sinks=4, kv_cache_bytes=budget) as model:
        assert model.generate(prompt, **options).token_ids == expected
        assert model.stats()["kv_pages_used"] == 0


def test_windowed_requests_give_way_and_come_back(tiny_dir, prompts):
    """Six of them in sixteen pages, each of which gets longer than all pages together."""
    options = {"max_tokens": 700, "ignore_eos": True, "temperature": 1.0, "seed": 3}
    with genfast.load(tiny_dir, window=70) as model:
        budget = 16 * model.kv_page_bytes
        expected = [out.token_ids for out in model.generate(prompts[1:], **options)]
    with genfast.load(tiny_dir, window=70, kv_cache_bytes=budget) as model:
        assert [out.token_ids for out in model.generate(prompts[1:], **options)] == expected
        assert model.stats()["kv_pages_used"] == 0


def test_sinks_need_a_window(tiny_dir):
    with pytest.raises(ValueError, match="sinks=4 needs a window: with window=None"):
        genfast.load(tiny_dir, sinks=4)
