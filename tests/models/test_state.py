"""Recurrent state beside KV pages: batches, prefixes, preemption, beams and pieces, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from families import CASES

OPTIONS = {"max_tokens": 12, "temperature": 0.8, "seed": 3, "ignore_eos": True}
# The last has attention too.
RWKV = ["rwkv-odd", "rwkv5-odd", "rwkv6-base", "rwkv7-base"]
NAMES = ["mamba-odd", "mamba2-groups", *RWKV, "bamba-base"]


@pytest.fixture(scope="module", params=NAMES)
def directory(request, tmp_path_factory):
    family = next(f for f in CASES if f.id == request.param)
    return family.write(tmp_path_factory.mktemp("state"), max_position_embeddings=1024)


@pytest.fixture(scope="module")
def cold(directory):
    """Nothing is shared and nothing kept: what all others must equal."""
    with genfast.load(directory, prefix_cache=False) as model:
        yield model


@pytest.fixture
def warm(directory):
    with genfast.load(directory) as model:
        yield model


@pytest.fixture
def prompts(rng):
    return [rng.integers(0, 64, n).tolist() for n in (1, 2, 31, 32, 33, 70, 130, 300)]


def answer(out):
    return out.token_ids, out.receipt.digests


def test_beside_others(warm, cold, prompts):
    expected = [answer(cold.generate(ids, **OPTIONS)) for ids in prompts]
    assert [answer(out) for out in warm.generate(prompts, **OPTIONS)] == expected
    again = warm.generate(prompts, **OPTIONS)
    assert [answer(out) for out in again] == expected
    assert [out.usage.cached_tokens for out in again] == [0, 0, 0, 0, 32, 64, 128, 288]


@pytest.mark.parametrize("chunk", [1, 7, 32, 100])
def test_in_pieces(warm, cold, prompts, chunk):
    ids = prompts[-2]
    whole = cold.logits(ids)
    assert warm.logits(ids, chunk=chunk, reuse=False).tobytes() == whole.tobytes()
    warm.logits(ids, start=len(ids) - 1, chunk=chunk)
    assert warm.logits(ids, start=129).tobytes() == whole[129:].tobytes()


def test_other_threads(directory, cold, prompts):
    with genfast.load(directory, threads=1) as alone, genfast.load(directory, threads=3) as three:
        for ids in prompts[-3:]:
            assert answer(alone.generate(ids, **OPTIONS)) == answer(three.generate(ids, **OPTIONS))
            assert answer(alone.generate(ids, **OPTIONS)) == answer(cold.generate(ids, **OPTIONS))


def test_what_two_prompts_share_is_kept_for_the_third(warm, cold, rng):
    head = rng.integers(0, 64, 100).tolist()
    found = []
    for i in range(4):
        ids = [*head, *[i] * 50]
        out = warm.generate(ids, **OPTIONS)
        assert answer(out) == answer(cold.generate(ids, **OPTIONS))
        found.append(out.usage.cached_tokens)
    # The second sees that pages are alike, and leaves a snapshot where they end.
    assert found == [0, 0, 96, 96]


def test_a_conversation_goes_on_from_its_own_state(warm, cold, rng):
    ids = rng.integers(0, 64, 50).tolist()
    for _ in range(3):
        out = warm.generate(ids, **{**OPTIONS, "max_tokens": 40})
        assert answer(out) == answer(cold.generate(ids, **{**OPTIONS, "max_tokens": 40}))
        ids = ids + out.token_ids + rng.integers(0, 64, 10).tolist()
        again = warm.generate(ids, **OPTIONS)
        assert again.usage.cached_tokens >= len(ids) - 10 - 32
        assert answer(again) == answer(cold.generate(ids, **OPTIONS))


def test_a_long_answer_leaves_one_snapshot(warm, rng):
    ids = rng.integers(0, 64, 70).tolist()
    warm.generate(ids, max_tokens=300, ignore_eos=True)
    assert warm.stats()["state_snapshots"] == 2  # of the prompt, of the answer's end


def test_choices_of_a_prompt_start_from_its_state(warm, cold, prompts):
    ids = prompts[-1]
    options = {**OPTIONS, "n": 4}
    several = [answer(c) for c in warm.generate(ids, **options).choices]
    assert len(set(map(str, several))) > 1
    assert several == [answer(c) for c in cold.generate(ids, **options).choices]
    # The prompt once, 288 tokens of it; its rest and the answers four times.
    assert warm.stats()["tokens"] <= 288 + 4 * (12 + 12)


def test_few_slots_and_requests_that_give_theirs_back(directory, cold, warm, prompts):
    prompts = prompts * 4
    budget = warm.state_bytes * 5 + warm.kv_page_bytes * 64  # where there are pages, half of it
    expected = [answer(cold.generate(ids, **OPTIONS)) for ids in prompts]
    with genfast.load(directory, kv_cache_bytes=budget) as model:
        assert 2 <= model.stats()["state_slots"] < len(prompts)
        for _ in range(2):
            assert [answer(out) for out in model.generate(prompts, **OPTIONS)] == expected
        important = model.stream(prompts[-2], priority=1, **OPTIONS)
        beside = model.generate(prompts, **OPTIONS)
        assert [answer(out) for out in beside] == expected
        chunks = list(important)
        assert [t for c in chunks for t in c.token_ids] == expected[-2][0]
        assert model.stats()["state_slots_used"] == 0


@pytest.mark.parametrize("beams", [2, 5])
def test_beams_part_and_go_on(warm, cold, prompts, beams):
    """Each text's score is what the model says of it when asked from the start."""
    ids = prompts[-2]
    out = warm.generate(ids, num_beams=beams, n=beams, max_tokens=20, ignore_eos=True)
    assert len({tuple(c.token_ids) for c in out.choices}) == beams
    for choice in out.choices:
        logits = cold.logits(ids + choice.token_ids)[len(ids) - 1 : -1].astype(np.float64)
        logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        told = logprobs[np.arange(20), choice.token_ids].sum() / 20
        assert choice.score == pytest.approx(told, abs=1e-5)
        alone = cold.logits(ids + choice.token_ids)
        greedy = warm.logits(ids + choice.token_ids)
        assert alone.tobytes() == greedy.tobytes()
    assert warm.stats()["state_slots_used"] == 0


def test_held_to_the_reference(directory, cold, prompts, monkeypatch):
    monkeypatch.setenv("GENFAST_CHECK", "1")
    with genfast.load(directory) as model:
        for out, ids in zip(model.generate(prompts, **OPTIONS), prompts, strict=True):
            assert answer(out) == answer(cold.generate(ids, **OPTIONS))


def test_what_cannot_be_is_refused_by_name(warm, prompts):
    kind = warm.config["model_type"]
    for options in ({"speculate": True}, {"draft": "smaller"}):
        with pytest.raises(ValueError, match=f"{kind} has recurrent state"):
            warm.generate(prompts[2], **options)
    out = warm.generate(prompts[2] * 3, speculate="auto", max_tokens=30, ignore_eos=True)
    assert out.usage.draft_tokens == 0


def test_a_file_takes_the_state_along(directory, warm, cold, prompts, tmp_path):
    ids = prompts[-1]
    assert warm.save_kv(ids, tmp_path / "prefix") == 288
    with genfast.load(directory) as other:
        assert other.load_kv(tmp_path / "prefix") == 288
        out = other.generate(ids, **OPTIONS)
        assert out.usage.cached_tokens == 288
        assert answer(out) == answer(cold.generate(ids, **OPTIONS))


def test_a_window_needs_attention(directory, cold):
    if cold.kv_page_bytes:
        with genfast.load(directory, window=40) as model:
            ids = list(range(64)) * 2
            assert model.generate(ids, max_tokens=3).token_ids
    else:
        with pytest.raises(ValueError, match=r"window=40.*no attention layers"):
            genfast.load(directory, window=40)


def test_state_counts_as_memory(warm, cold, prompts):
    usage = warm.generate(prompts[3], **OPTIONS).usage
    assert usage.kv_byte_seconds > 0
    assert usage.bytes_moved > 12 * (warm.weight_bytes + 2 * warm.state_bytes) * 0.9
    with pytest.raises(genfast.LoadError, match="kv_cache_bytes"):
        genfast.load(warm.path, kv_cache_bytes=warm.state_bytes)
