"""`genfast.calibrate`: fits how far a model's answers can be trusted, on labelled ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from genfast.confidence import FEATURES, Calibration, Report, identity, log_odds
from genfast.results import Generation

if TYPE_CHECKING:
    from genfast.model import Model

_AT_ONCE = 32  # prompts whose answers are generated together
_LEAST = 20  # labelled answers; fewer say nothing about probabilities
_FOLDS = 5
_BINS = 10
_RAW = "sequence probability"
_NOT_FITTED = ("calibration", "abstain_below", "n", "logprobs")

Accepted = str | Sequence[str] | Sequence[int] | Callable[[Generation], bool]
Fit = Callable[[np.ndarray, np.ndarray], dict[str, Any]]


def calibrate(
    model: Model, labelled: Iterable[tuple[Any, Accepted]], **options: Any
) -> Calibration:
    """Generates an answer to every prompt and fits how likely such answers are right.

    labelled: (prompt, accepted) pairs, 20 at least; a few hundred give a usable curve. accepted: a
    text, several, token ids, or a function of the Generation that says whether it is right. Texts
    are compared without white space around them. options: for `generate`; use those of later
    answers, a calibration holds for answers made alike. Seeds count up from a given one.

    Which feature of the answers is read, and by temperature scaling or isotonic regression, is
    chosen by cross-validation; `report` is of answers that neither fit nor choice has seen.
    """
    for name in _NOT_FITTED:
        if options.get(name) is not None:
            raise ValueError(f"{name}={options[name]!r:.60} cannot be given to calibrate")
    pairs = list(labelled)
    if len(pairs) < _LEAST:
        raise ValueError(f"labelled has {len(pairs)} answers; at least {_LEAST} are needed")
    outs = _answers(model, [prompt for prompt, _ in pairs], options)
    accepted = [answers for _, answers in pairs]
    right = np.array([is_right(*pair) for pair in zip(outs, accepted, strict=True)], float)
    scores = {
        name: np.array([feature(out.logprobs) if out.logprobs else 0.0 for out in outs])
        for name, feature in FEATURES.items()
    }
    return fit(scores, right, identity(model), options)


def _answers(model: Model, prompts: list[Any], options: dict[str, Any]) -> list[Generation]:
    """One a prompt, in one running batch, each with a seed of its own: with the same one, answers
    would be drawn by the same numbers and be right or wrong together."""

    def answer(place: int) -> Generation:
        seed = options.get("seed")
        own = {} if seed is None else {"seed": (seed + place) % 2**64}
        return model.generate(prompts[place], **{**options, **own, "logprobs": 0})

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(answer, range(len(prompts))))


def is_right(out: Generation, accepted: Accepted) -> bool:
    if callable(accepted):
        return bool(accepted(out))
    if isinstance(accepted, str):
        accepted = [accepted]
    if accepted and not isinstance(accepted[0], str):
        return list(out.token_ids) == [int(token) for token in accepted]
    return out.text.strip() in {text.strip() for text in accepted}


def fit(
    scores: dict[str, np.ndarray], right: np.ndarray, model: dict[str, Any], options: dict[str, Any]
) -> Calibration:
    everything = np.arange(len(right))
    held_out = np.empty(len(right))
    for train, test in _folds(everything):
        chosen = _choose(scores, right, train, model, options)
        held_out[test] = _confidences(chosen, scores, test)
    report = report_of(held_out, scores[_RAW], right)
    return _choose(scores, right, everything, model, options, report)


_NOTHING = Report(0, *[math.nan] * 6, [])


def _choose(scores, right, part, model, options, report=_NOTHING) -> Calibration:
    """The feature and method with the least squared error on held-out folds of `part`."""

    def fitted(feature: str, method: str, train: np.ndarray) -> Calibration:
        parameters = _METHODS[method](scores[feature][train], right[train])
        return Calibration(feature, method, parameters, model, options, report)

    def error(feature: str, method: str) -> float:
        return sum(
            float(
                (
                    (_confidences(fitted(feature, method, train), scores, test) - right[test]) ** 2
                ).sum()
            )
            for train, test in _folds(part)
        )

    best = min(((f, m) for f in scores for m in _METHODS), key=lambda pair: error(*pair))
    return fitted(*best, part)


def _folds(part: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    shuffled = np.random.default_rng(len(part)).permutation(part)
    tests = np.array_split(shuffled, _FOLDS)
    return [(np.setdiff1d(part, test), test) for test in tests]


def _confidences(calibration: Calibration, scores, part: np.ndarray) -> np.ndarray:
    return np.array([calibration.of_score(s) for s in scores[calibration.feature][part]])


def temperature_scaling(scores: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The most likely 1 / temperature and bias, by Newton's method (Guo et al., 2017, arXiv
    1706.04599). Targets are drawn in as by Platt, 1999, so that separable answers have a fit."""
    count = right.sum()
    target = np.where(right > 0, (count + 1) / (count + 2), 1 / (len(right) - count + 2))
    x = np.stack([[log_odds(s) for s in scores], np.ones(len(scores))], axis=1)
    w = np.array([1.0, 0.0])
    ridge = 1e-3 * np.eye(2)
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (p - target) + ridge @ (w - [1.0, 0.0])
        step = np.linalg.solve(x.T @ (x * (p * (1 - p))[:, None]) + ridge, gradient)
        w = w - step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    slope = max(float(w[0]), 1e-3)  # the surer an answer, never the less likely
    return {"temperature": 1 / slope, "bias": float(w[1])}


def isotonic_regression(scores: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The rising steps nearest to the labels, by pooling adjacent violators (Zadrozny and Elkan,
    2002). Each step is a point at its mean score, with one right and one wrong answer added."""
    blocks: list[list[float]] = []  # sum of labels, count, sum of scores
    for i in np.argsort(scores, kind="stable"):
        blocks.append([right[i], 1, scores[i]])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    x = [score / count for _, count, score in blocks]
    y = np.maximum.accumulate([(label + 1) / (count + 2) for label, count, _ in blocks])
    kept = [i for i in range(len(x)) if i == 0 or x[i] > x[i - 1]]
    return {"x": [float(x[i]) for i in kept], "y": [float(y[i]) for i in kept]}


_METHODS: dict[str, Fit] = {"temperature": temperature_scaling, "isotonic": isotonic_regression}


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Mean distance of confidence and accuracy over ten bins of equal width, by answers."""
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs((confidence - right)[bins == b].sum()) for b in range(_BINS)]
    return float(sum(gaps) / len(right))


def report_of(confidence: np.ndarray, raw: np.ndarray, right: np.ndarray) -> Report:
    order = np.argsort(-confidence, kind="stable")
    wrong = 1 - right[order]
    coverage = []
    for tenth in range(10, 0, -1):
        count = max(1, round(len(right) * tenth / 10))
        least = float(confidence[order[count - 1]])
        coverage.append((least, count / len(right), float(wrong[:count].mean())))
    return Report(
        answers=len(right),
        accuracy=float(right.mean()),
        ece_before=expected_calibration_error(raw, right),
        ece=expected_calibration_error(confidence, right),
        brier_before=float(((raw - right) ** 2).mean()),
        brier=float(((confidence - right) ** 2).mean()),
        auroc=_auroc(confidence, right),
        coverage=coverage,
    )


def _auroc(confidence: np.ndarray, right: np.ndarray) -> float:
    """How often a right answer is surer than a wrong one, ties counting half."""
    good, bad = confidence[right > 0], confidence[right == 0]
    if not len(good) or not len(bad):
        return math.nan
    above = (good[:, None] > bad).mean() + 0.5 * (good[:, None] == bad).mean()
    return float(above)
