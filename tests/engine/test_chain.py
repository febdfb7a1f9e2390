"""Every edit and filter of the sampler chain against plain oracles, and what it remembers."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from genfast import _core, ops

ISAS = genfast.cpu_info()["isas"]
V = 40


def sampler_of(prompt=(), output=(), **params):
    sampler = _core.Sampler(_core.SamplingParams(**params), list(prompt))
    for token in output:
        sampler.accept(token)
    return sampler


def edited(logits, prompt=(), output=(), **params):
    return sampler_of(prompt, output, **params).edit(logits)


def banned(logits, *args, **params):
    after = edited(logits, *args, **params)
    gone = np.isneginf(after)
    assert after[~gone].tobytes() == logits[~gone].tobytes()
    return np.flatnonzero(gone).tolist()


# --- DRY and n-grams ---------------------------------------------------------------------------


def dry_oracle(logits, context, multiplier, base, allowed, breakers):
    """From the definition: at every earlier place, how far back the context reads as it does at its
    end, not over a breaker; what followed there would go on repeating."""
    longest = {}
    for place in range(1, len(context)):
        length = 0
        while length < place and context[place - 1 - length] == context[-1 - length]:
            if context[-1 - length] in breakers:
                break
            length += 1
        if length >= allowed and context[place] not in breakers:
            longest[context[place]] = max(length, longest.get(context[place], 0))
    out = logits.copy()
    for token, length in longest.items():
        out[token] -= np.float32(
            np.float32(multiplier) * float(np.float32(base)) ** (length - allowed)
        )
    return out, longest


@pytest.mark.parametrize("allowed", [1, 2, 4])
def test_dry(rng, allowed):
    penalised = 0
    for _ in range(200):
        vocabulary = int(rng.integers(2, 6))  # few tokens: long repetitions
        context = rng.integers(0, vocabulary, size=int(rng.integers(1, 80))).tolist()
        breakers = [0] if rng.random() < 0.5 else []
        logits = rng.normal(size=V).astype(np.float32)
        expected, longest = dry_oracle(logits, context, 0.8, 1.75, allowed, breakers)
        split = int(rng.integers(0, len(context) + 1))
        params = {"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": allowed}
        after = edited(logits, context[:split], context[split:], dry_breakers=breakers, **params)
        np.testing.assert_allclose(after, expected, rtol=1e-6)
        penalised += len(longest)
    assert penalised > 20


def test_dry_of_an_endless_repetition_stays_finite():
    after = edited(np.zeros(V, np.float32), [1] * 5000, dry_multiplier=1.0, dry_base=4.0)
    assert after[1] < -1e37 and np.isfinite(after).all()


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_no_repeat_ngram(rng, n):
    logits = rng.normal(size=V).astype(np.float32)
    for length in (0, 1, n - 1, n, 200):
        context = rng.integers(0, 5, size=length).tolist()
        windows = [tuple(context[i : i + n]) for i in range(length - n + 1)]
        end = tuple(context[length - n + 1 :])
        expected = {w[-1] for w in windows if w[:-1] == end}
        split = length // 2
        got = banned(logits, context[:split], context[split:], no_repeat_ngram_size=n)
        assert got == sorted(expected)


# --- bans and what is forced -------------------------------------------------------------------


def test_bad_words(rng):
    logits = rng.normal(size=V).astype(np.float32)
    words = [[7], [1, 2, 3], [2, 9], [5, 5, 5, 5]]

    def at(*context, split=1):
        return banned(logits, context[:split], context[split:], bad_words=words)

    assert at() == [7]
    assert at(1, 2) == [3, 7, 9]
    assert at(4, 1, 2) == [3, 7, 9] == at(4, 1, 2, split=3)
    assert at(2, 1) == [7]
    assert at(5, 5, 5) == [5, 7] and at(5, 5) == [7]


def test_suppressed_tokens(rng):
    logits = rng.normal(size=V).astype(np.float32)
    params = {"suppress": [3, 8], "suppress_at": [(0, 5), (2, 6)]}
    assert banned(logits, [1], [], **params) == [3, 5, 8]
    assert banned(logits, [1], [0], **params) == [3, 8]
    assert banned(logits, [1], [0, 0], **params) == [3, 6, 8]


def test_forced_tokens_come_whatever_the_logits_say(rng):
    logits = rng.normal(size=V).astype(np.float32)
    logits[4] = -np.inf
    params = {"forced": [(0, 4), (2, 9), (2, 11)], "stop_ids": [4], "min_tokens": 3}
    for temperature in (0.0, 1.0):
        for seed in range(20):
            drawn = [
                sampler_of([1], [0] * n, temperature=temperature, seed=seed, **params).next(
                    logits, 1 + n
                )[0]
                for n in range(3)
            ]
            assert drawn[0] == 4 and drawn[2] in (9, 11)
    told = sampler_of([1], logprobs=0, **params).next(logits, 1)
    assert told[0] == 4 and told[1] == -np.inf  # of the model's own distribution


def test_the_order_of_edits():
    """Bias before penalties; a ban is final; what is forced overrides a ban, suppression that."""
    logits = np.ones(V, np.float32)
    after = edited(
        logits,
        [2],
        [3],
        logit_bias=[(2, 1.0)],
        repetition_penalty=2.0,
        presence_penalty=0.25,
        bad_words=[[5]],
        suppress=[6],
    )
    assert after[2] == 1.0 and after[3] == 0.25
    assert np.flatnonzero(np.isneginf(after)).tolist() == [5, 6]
    forced = edited(logits, [2], forced=[(0, 5), (0, 6)], bad_words=[[5]], suppress=[6])
    assert np.flatnonzero(forced > -np.inf).tolist() == [5]


# --- what is drawn from ------------------------------------------------------------------------


FILTERS = [
    {"typical_p": 0.7},
    {"top_n_sigma": 2.5},
    {"typical_p": 0.9, "top_k": 12, "top_p": 0.9},
    {"xtc_probability": 1.0, "xtc_threshold": 0.08},
]


def truncated(logits, settings):
    """What the kernel leaves, which test_truncate.py holds to its definition."""
    settings = dict(settings)
    settings.pop("xtc_probability", None)
    left, _, _ = ops.truncate(logits, **settings)
    p = np.exp(left.astype(np.float64) - left.max())
    return p / p.sum()


def chi_square_bound(k):
    # Wilson and Hilferty: exceeded with probability 1e-6 (4.753 standard deviations)
    return k * (1 - 2 / (9 * k) + 4.753 * np.sqrt(2 / (9 * k))) ** 3


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("settings", FILTERS, ids=str)
def test_draws_follow_what_is_left(rng, isa, settings):
    logits = (rng.normal(size=V) * 1.5).astype(np.float32)
    expected = 4000 * truncated(logits, settings)
    sampler = sampler_of([0], temperature=1.0, seed=int(rng.integers(2**63)), **settings)
    drawn = [sampler.next(logits, p, isa=isa)[0] for p in range(4000)]
    observed = np.bincount(drawn, minlength=V)
    assert (observed[expected == 0] == 0).all()
    common = expected >= 5
    rest = (~common) & (expected > 0)
    expected = np.append(expected[common], expected[rest].sum())
    observed = np.append(observed[common], observed[rest].sum())
    if expected[-1] < 5:
        expected, observed = expected[:-1], observed[:-1]
    assert len(expected) > 1
    chi2 = ((observed - expected) ** 2 / expected).sum()
    assert chi2 < chi_square_bound(len(expected) - 1)


def test_xtc_happens_as_often_as_asked_and_apart_from_the_draw(rng):
    logits = np.log(np.array([0.5, 0.3, 0.2], np.float32))
    sampler = sampler_of(
        [0], temperature=1.0, seed=int(rng.integers(2**63)), xtc_probability=0.4, xtc_threshold=0.25
    )
    drawn = np.array([sampler.next(logits, p)[0] for p in range(20000)])
    # With 0.4 the likeliest goes: of the tokens with p >= 0.25 the second alone is kept.
    expected = 0.6 * np.array([0.5, 0.3, 0.2]) + 0.4 * np.array([0, 0.6, 0.4])
    observed = np.bincount(drawn, minlength=3)
    chi2 = ((observed - 20000 * expected) ** 2 / (20000 * expected)).sum()
    assert chi2 < chi_square_bound(2)


def test_mirostat_against_its_definition(rng):
    tau, eta, temperature = 3.0, 0.2, 0.9
    sampler = sampler_of([0], temperature=temperature, seed=3, mirostat_tau=tau, mirostat_eta=eta)
    mu, bits, wide = 2 * tau, [], 300
    for position in range(400):
        logits = (rng.normal(size=wide) * 2).astype(np.float32)
        z = logits.astype(np.float64) / np.float32(temperature)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        kept = -np.log2(p) <= mu
        if not kept.any():
            kept[p.argmax()] = True
        token = sampler.next(logits, position)[0]
        assert kept[token]
        assert sampler.next(logits, position)[0] == token  # asking again changes nothing
        bits.append(-np.log2(p[token] / p[kept].sum()))
        mu -= np.float32(eta) * (bits[-1] - tau)
        sampler.accept(token)
    assert np.mean(bits[100:]) == pytest.approx(tau, abs=0.3)


def test_an_unaccepted_draw_leaves_no_trace(rng):
    """What speculation needs: rows whose tokens are not taken change nothing."""
    params = {
        "temperature": 1.0,
        "seed": 5,
        "mirostat_tau": 2.0,
        "dry_multiplier": 1.0,
        "no_repeat_ngram_size": 3,
        "repetition_penalty": 1.2,
    }
    rows = (rng.normal(size=(60, V)) * 2).astype(np.float32)
    others = (rng.normal(size=(60, V)) * 2).astype(np.float32)
    plain, curious = sampler_of([1, 2], **params), sampler_of([1, 2], **params)
    for position, row in enumerate(rows):
        curious.next(others[position], position + 1)
        token = plain.next(row, position)[0]
        assert curious.next(row, position)[0] == token
        plain.accept(token)
        curious.accept(token)


@pytest.mark.parametrize("isa", ISAS)
def test_logprobs_are_of_the_unedited_logits_with_every_filter(rng, isa):
    logits = rng.normal(size=V).astype(np.float32)
    wide = logits.astype(np.float64)
    exact = wide - wide.max() - np.log(np.exp(wide - wide.max()).sum())
    for params in ({"suppress": [3]}, {"typical_p": 0.5}, {"forced": [(0, 6)]}, {}):
        sampler = sampler_of([1], temperature=1.0, seed=1, logprobs=4, **params)
        token, logprob, top, _ = sampler.next(logits, 2, isa=isa)
        assert logprob == pytest.approx(exact[token], abs=1e-6)
        assert [i for i, _ in top] == np.argsort(-exact, kind="stable")[:4].tolist()
