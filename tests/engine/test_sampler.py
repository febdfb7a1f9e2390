"""The sampler's edits of the logits against a numpy oracle, and the independence of its draws."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from genfast import _core

ISAS = genfast.cpu_info()["isas"]
V = 50


def edited(logits, prompt, output, position=5, **params):
    sampler = _core.Sampler(_core.SamplingParams(**params), prompt)
    for token in output:
        sampler.accept(token)
    token, _, _, after = sampler.next(logits, position)
    return token, np.asarray(after, np.float32)


def test_repetition_penalty_as_in_hugging_face(rng):
    logits = rng.normal(size=V).astype(np.float32)
    prompt, output = [1, 2, 2, 3], [3, 7, 7]
    seen = sorted(set(prompt + output))
    expected = logits.copy()
    expected[seen] = np.where(
        logits[seen] > 0, logits[seen] / np.float32(1.3), logits[seen] * np.float32(1.3)
    )
    _, after = edited(logits, prompt, output, repetition_penalty=1.3)
    assert after.tobytes() == expected.tobytes()


def test_presence_and_frequency_count_the_output_alone(rng):
    logits = rng.normal(size=V).astype(np.float32)
    _, after = edited(logits, [1, 2], [7, 7, 9], presence_penalty=0.5, frequency_penalty=0.25)
    expected = logits.copy()
    expected[7] -= np.float32(0.5 + 0.25 * 2)
    expected[9] -= np.float32(0.5 + 0.25)
    assert after.tobytes() == expected.tobytes()


def test_logit_bias_comes_first(rng):
    logits = rng.normal(size=V).astype(np.float32)
    bias = [(4, 2.5), (9, -100.0)]
    _, after = edited(logits, [4], [], logit_bias=bias, repetition_penalty=2.0)
    biased = logits[4] + np.float32(2.5)
    assert after[4] == (biased / np.float32(2) if biased > 0 else biased * np.float32(2))
    assert after[9] == logits[9] + np.float32(-100)


def test_min_tokens_forbids_stop_ids_until_then(rng):
    logits = rng.normal(size=V).astype(np.float32)
    logits[3] = 50
    for generated, token in ((0, None), (1, None), (2, 3)):
        got, after = edited(logits, [1], [5] * generated, min_tokens=2, stop_ids=[3])
        assert (got == 3) == (token == 3)
        assert np.isneginf(after[3]) == (token is None)


@pytest.mark.parametrize("isa", ISAS)
def test_a_draw_depends_on_seed_stream_and_position_alone(rng, isa):
    logits = rng.normal(size=V).astype(np.float32)

    def draw(position, history=(), **params):
        sampler = _core.Sampler(_core.SamplingParams(temperature=1.0, **params), [1])
        for token in history:
            sampler.accept(token)
        return sampler.next(logits, position, isa=isa)[0]

    base = [draw(p, seed=9) for p in range(200)]
    assert base == [draw(p, history=[2, 3], seed=9) for p in range(200)]
    assert base != [draw(p, seed=10) for p in range(200)]
    assert base != [draw(p, seed=9, stream=1) for p in range(200)]
    assert base != [draw(p + 1, seed=9) for p in range(200)]


def test_draws_follow_the_distribution(rng):
    """Chi-square over 20,000 positions; 1e-6 of all runs would exceed the bound by chance."""
    probabilities = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    logits = np.log(probabilities).astype(np.float32)
    seed = int(rng.integers(0, 2**63))
    sampler = _core.Sampler(_core.SamplingParams(temperature=1.0, seed=seed), [0])
    counts = np.bincount([sampler.next(logits, p)[0] for p in range(20000)], minlength=5)
    chi2 = ((counts - 20000 * probabilities) ** 2 / (20000 * probabilities)).sum()
    assert chi2 < 33.4, f"seed {seed}: {counts}"  # 4 degrees of freedom, p = 1e-6


def test_logprobs_are_of_the_unedited_logits(rng):
    logits = rng.normal(size=V).astype(np.float32)
    params = _core.SamplingParams(
        logprobs=3, logit_bias=[(5, 100.0)], repetition_penalty=1.5, stop_ids=[2], min_tokens=4
    )
    token, logprob, top, _ = _core.Sampler(params, [1, 2, 3]).next(logits, 9)
    wide = logits.astype(np.float64)
    exact = wide - wide.max() - np.log(np.exp(wide - wide.max()).sum())
    assert token == 5
    assert logprob == pytest.approx(exact[5], abs=1e-6)
    assert [i for i, _ in top] == np.argsort(-exact, kind="stable")[:3].tolist()


def test_logits_without_a_finite_number_give_no_token():
    for bad in (np.nan, -np.inf):
        sampler = _core.Sampler(_core.SamplingParams(), [0])
        assert sampler.next(np.full(V, bad, np.float32), 1)[0] == -1
