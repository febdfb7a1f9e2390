"""Calibration: fits against plain oracles, the round through a file, and who may use it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import genfast
from genfast.calibrate import (
    expected_calibration_error,
    fit,
    is_right,
    isotonic_regression,
    temperature_scaling,
)
from genfast.confidence import FEATURES, log_odds
from genfast.results import Generation, TokenLogprobs

SORT = Path(__file__).resolve().parents[3] / "shared/data/models/gpt-nano-sort"


# --- the fits --------------------------------------------------------------------------------


def test_temperature_scaling_finds_what_made_the_labels(rng):
    true = {"temperature": 2.5, "bias": -0.7}
    scores = rng.uniform(0.01, 0.99, size=20_000)
    odds = np.array([log_odds(s) for s in scores]) / true["temperature"] + true["bias"]
    right = (rng.random(len(scores)) < 1 / (1 + np.exp(-odds))).astype(float)
    found = temperature_scaling(scores, right)
    assert found["temperature"] == pytest.approx(true["temperature"], rel=0.1)
    assert found["bias"] == pytest.approx(true["bias"], abs=0.1)


@pytest.mark.parametrize("right", [np.ones(30), np.zeros(30), np.repeat([0.0, 1.0], 15)])
def test_temperature_scaling_of_one_kind_or_of_separable_labels_is_finite(right):
    found = temperature_scaling(np.linspace(0.1, 0.9, 30), right)
    assert found["temperature"] > 0 and np.isfinite([*found.values()]).all()


def test_isotonic_regression_is_the_nearest_rising_sequence(rng):
    """By the min-max formula: the fit at i is max over a <= i of min over b >= i of mean(a..b)."""
    for _ in range(20):
        n = int(rng.integers(2, 40))
        scores = np.sort(rng.random(n))
        right = (rng.random(n) < scores).astype(float)
        best = [
            max(min(right[a : b + 1].mean() for b in range(i, n)) for a in range(i + 1))
            for i in range(n)
        ]
        found = isotonic_regression(scores, right)
        assert np.all(np.diff(found["x"]) > 0) and np.all(np.diff(found["y"]) >= 0)
        # A point a level: at the mean of its scores, its label drawn in by one answer of each kind.
        levels = sorted(set(np.round(best, 9)))
        assert len(found["x"]) == len(levels)
        for level, x, y in zip(levels, found["x"], found["y"], strict=True):
            members = np.abs(np.array(best) - level) < 1e-6
            assert x == pytest.approx(scores[members].mean())
            smoothed = (right[members].sum() + 1) / (members.sum() + 2)
            assert y >= smoothed - 1e-9


def test_expected_calibration_error():
    confidence = np.array([0.05, 0.05, 0.95, 1.0])
    assert expected_calibration_error(confidence, np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(
        (0.1 + 0.05) / 4
    )
    assert expected_calibration_error(np.full(4, 0.7), np.array([1.0, 0, 1, 0])) == pytest.approx(
        0.2
    )


def labelled_scores(rng, n, sharpness):
    """Answers whose sequence probability says nothing of their chance, and whose least one does."""
    chance = rng.beta(2, 2, size=n)
    right = (rng.random(n) < chance).astype(float)
    scores = {name: rng.random(n) for name in FEATURES}
    scores["least probability"] = chance**sharpness
    return scores, right


def test_the_feature_that_tells_is_chosen_and_what_is_reported_is_held_out(rng):
    scores, right = labelled_scores(rng, 1500, sharpness=3)
    made = fit(scores, right, {}, {})
    assert made.feature == "least probability"
    assert made.report.ece < 0.08 < made.report.ece_before
    assert made.report.brier < made.report.brier_before
    assert made.report.auroc > 0.6
    shares = [share for _, share, _ in made.report.coverage]
    assert shares == sorted(shares, reverse=True) and shares[0] == 1
    assert made.report.coverage[0][2] == pytest.approx(1 - right.mean())
    assert made.report.coverage[-1][2] < made.report.coverage[0][2]
    values = [made.of_score(s) for s in np.linspace(0, 1, 200)]
    assert np.all(np.diff(values) >= 0) and 0 <= values[0] <= values[-1] <= 1


def test_labels_that_nothing_tells_give_the_base_rate(rng):
    """Held-out answers keep the fit honest: it must not find what is not there."""
    scores = {name: rng.random(1000) for name in FEATURES}
    right = (rng.random(1000) < 0.3).astype(float)
    made = fit(scores, right, {}, {})
    assert 0.38 < made.report.auroc < 0.62
    values = [made.of_score(s) for s in np.linspace(0, 1, 200)]
    assert np.mean(values) == pytest.approx(0.3, abs=0.1)  # five deviations of a mean of 1000: 0.07
    assert np.std(values) < 0.15


# --- answers -----------------------------------------------------------------------------------


def test_is_right():
    out = Generation(" Paris \n", [4, 5], "stop")
    assert is_right(out, "Paris") and is_right(out, ["Rome", "Paris"])
    assert not is_right(out, "Rome") and not is_right(out, [])
    assert is_right(out, [4, 5]) and not is_right(out, [4])
    assert is_right(out, lambda o: o.text.startswith(" P"))


def test_features():
    told = [
        TokenLogprobs(1, np.log(0.5), [], 0.7, 0.1),
        TokenLogprobs(2, np.log(0.8), [], 0.1, 0.5),
    ]
    found = {name: feature(told) for name, feature in FEATURES.items()}
    assert found["sequence probability"] == pytest.approx(0.4)
    assert found["mean probability"] == pytest.approx(0.4**0.5)
    assert found["least probability"] == pytest.approx(0.5)
    assert found["mean margin"] == pytest.approx(0.3)
    assert found["mean certainty"] == pytest.approx(np.exp(-0.4))


# --- models --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(tiny):
    """By a rule that has nothing to do with the model: it may be as it likes, it is calibrated."""
    rng = np.random.default_rng(3)
    labelled = [
        (rng.integers(0, 97, size=8).tolist(), lambda out: out.token_ids[-1] % 2 == 0)
        for _ in range(60)
    ]
    return genfast.calibrate(tiny, labelled, max_tokens=3, temperature=0)


def test_confidence_of_a_calibrated_model(tiny, prompt, fitted, tmp_path):
    options = {"max_tokens": 3, "temperature": 0}
    out = tiny.generate(prompt, calibration=fitted, **options)
    assert out.logprobs is None and 0 <= out.confidence <= 1
    told = tiny.generate(prompt, logprobs=0, **options).logprobs
    assert out.confidence == fitted.confidence(told)

    fitted.save(tmp_path / "cal.json")
    again = genfast.Calibration.load(tmp_path / "cal.json")
    assert again == fitted
    assert tiny.generate(prompt, calibration=again, **options).confidence == out.confidence
    *_, last = tiny.stream(prompt, calibration=again, **options)
    assert last.confidence == out.confidence

    tiny.calibration = again
    try:
        assert tiny.generate(prompt, **options).confidence == out.confidence
        for limit in (0.0, 1.0):
            judged = tiny.generate(prompt, abstain_below=limit, **options)
            assert judged.abstained == (out.confidence < limit)
            assert judged.token_ids == out.token_ids
            assert judged.finish_reason == out.finish_reason
        three = tiny.generate(prompt, max_tokens=3, temperature=1.5, seed=1, n=3)
        assert len({choice.confidence for choice in three.choices}) >= 1
    finally:
        tiny.calibration = None


def test_without_a_calibration_it_is_refused(tiny, prompt):
    out = tiny.generate(prompt, max_tokens=2)
    with pytest.raises(ValueError, match=r"confidence needs a calibration: .*genfast\.calibrate"):
        out.confidence  # noqa: B018
    assert not out.abstained
    with pytest.raises(ValueError, match=r"abstain_below=0.5 needs a calibration: .*calibrate"):
        tiny.generate(prompt, abstain_below=0.5)
    with pytest.raises(ValueError, match="logprob and probability need logprobs=0"):
        out.probability  # noqa: B018


def test_a_calibration_of_another_model_is_refused(tiny_dir, prompt, fitted):
    with genfast.load(tiny_dir, quantize="int8") as other:
        with pytest.raises(ValueError, match=r"another model \(quantize.* differ .*calibrate"):
            other.calibration = fitted
        with pytest.raises(ValueError, match="another model"):
            other.generate(prompt, calibration=fitted)
    with genfast.load() as bundled, pytest.raises(ValueError, match=r"another model \(weights"):
        bundled.calibration = fitted


def test_what_calibrate_refuses(tiny):
    few = [([1, 2], [3])] * 19
    with pytest.raises(ValueError, match="labelled has 19 answers; at least 20"):
        genfast.calibrate(tiny, few)
    for name, value in (("n", 2), ("logprobs", 1), ("abstain_below", 0.5)):
        with pytest.raises(ValueError, match=f"{name}=.* cannot be given to calibrate"):
            genfast.calibrate(tiny, few * 2, **{name: value})
    with pytest.raises(ValueError, match="unknown keyword 'temprature'"):
        genfast.calibrate(tiny, few * 2, temprature=1)


def test_files_that_are_none(fitted, tmp_path):
    path = tmp_path / "cal.json"
    fitted.save(path)
    data = json.loads(path.read_text())
    for spoil in (
        "",
        "[]",
        "{}",
        json.dumps({**data, "format": 2}),
        json.dumps({**data, "feature": "mood"}),
        json.dumps({**data, "method": "magic"}),
        json.dumps({**data, "parameters": {}}),
        json.dumps({**data, "report": {}}),
        json.dumps({k: v for k, v in data.items() if k != "model"}),
    ):
        path.write_text(spoil)
        with pytest.raises(genfast.LoadError, match=r"cal\.json: "):
            genfast.Calibration.load(path)
    with pytest.raises(genfast.LoadError, match="cannot be read"):
        genfast.Calibration.load(tmp_path / "none.json")


@pytest.mark.skipif(not SORT.is_dir(), reason=f"no {SORT}")
def test_a_model_that_is_sometimes_wrong(rng):
    """Sorting, drawn at a temperature where it errs: calibrated confidence knows when."""
    with genfast.load(SORT) as model:
        inputs = [rng.integers(0, 3, size=6).tolist() for _ in range(500)]
        labelled = [(letters, sorted(letters)) for letters in inputs]
        fitted = genfast.calibrate(model, labelled, max_tokens=6, temperature=5.0, seed=2)
        assert 0.2 < fitted.report.accuracy < 0.98
        assert fitted.report.ece < 0.05 and fitted.report.auroc > 0.95
        model.calibration = fitted
        fresh = [rng.integers(0, 3, size=6).tolist() for _ in range(300)]
        outs = [
            model.generate(i, max_tokens=6, temperature=5.0, seed=seed, abstain_below=0.5)
            for seed, i in enumerate(fresh)
        ]
        right = np.array([o.token_ids == sorted(i) for o, i in zip(outs, fresh, strict=True)])
        answered = np.array([not o.abstained for o in outs])
        assert answered.any() and not answered.all()
        assert right[answered].mean() > 0.95 > right.mean()
