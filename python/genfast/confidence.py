"""How likely an answer is right: a calibration turns what the model says of its tokens into that.

A model's own probabilities are no confidence: they tell how usual a text is, not whether it is so.
`genfast.calibrate` fits, on labelled answers, what they are worth; a `Calibration` keeps it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genfast.errors import LoadError

if TYPE_CHECKING:
    from genfast.model import Model
    from genfast.results import TokenLogprobs
    from genfast.sampling import Sampling

_FORMAT = 1
_CLIP = 1e-6  # scores stay so far from 0 and 1


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


# What is read off an answer's tokens, each from 0 to 1, the higher the surer.
FEATURES: dict[str, Callable[[Sequence[TokenLogprobs]], float]] = {
    "sequence probability": lambda told: math.exp(math.fsum(t.logprob for t in told)),
    "mean probability": lambda told: math.exp(_mean([t.logprob for t in told])),
    "least probability": lambda told: math.exp(min(t.logprob for t in told)),
    "mean margin": lambda told: _mean([t.margin for t in told]),
    "mean certainty": lambda told: math.exp(-_mean([t.entropy for t in told])),
}


def log_odds(score: float) -> float:
    score = min(max(score, _CLIP), 1 - _CLIP)
    return math.log(score / (1 - score))


@dataclass(frozen=True)
class Report:
    """What a calibration is worth on answers it was not fitted to (nested cross-validation).

    answers: how many were labelled. accuracy: the share that was right.
    ece, brier: expected calibration error over ten bins and mean squared error of the confidence;
        ece_before, brier_before: of the sequence probability taken as it is.
    auroc: how well confidence tells right from wrong, 0.5 being not at all; nan with one kind only.
    coverage: (abstain_below, share that is still answered, share of these that is wrong), from
        answering everything to answering the surest tenth.
    """

    answers: int
    accuracy: float
    ece_before: float
    ece: float
    brier_before: float
    brier: float
    auroc: float
    coverage: list[tuple[float, float, float]]


@dataclass(frozen=True)
class Calibration:
    """From an answer's tokens to how likely it is right; `genfast.calibrate` makes it.

    feature: which of FEATURES it reads. method: "temperature", the logistic function of
    log-odds(feature) / temperature + bias, or "isotonic", between the points (x, y).
    model: what it was fitted to, as hashes and settings. options: how the answers were generated:
    it holds for answers made alike.
    """

    feature: str
    method: str
    parameters: dict[str, Any]
    model: dict[str, Any]
    options: dict[str, Any]
    report: Report

    def confidence(self, tokens: Sequence[TokenLogprobs]) -> float:
        """Of an answer, given what is told of its tokens; 0 without a token."""
        return self.of_score(FEATURES[self.feature](tokens)) if tokens else 0.0

    def of_score(self, score: float) -> float:
        """Of the feature's value."""
        p = self.parameters
        if self.method == "temperature":
            return 1 / (1 + math.exp(-(log_odds(score) / p["temperature"] + p["bias"])))
        return _interpolate(score, p["x"], p["y"])

    def check(self, model: Model) -> None:
        """ValueError when it was fitted to another model."""
        here = identity(model)
        differs = [name for name in here if here[name] != self.model.get(name)]
        if differs:
            raise ValueError(
                f"calibration was fitted to another model ({', '.join(differs)} differ from "
                f"{model.path}); fit one with genfast.calibrate(model, labelled)"
            )

    def save(self, path: str | os.PathLike) -> None:
        """Writes it as JSON."""
        text = json.dumps({"format": _FORMAT, **asdict(self)}, indent=1)
        Path(path).write_text(text + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> Calibration:
        """Reads what `save` wrote; LoadError for anything else, naming the file and the field."""
        try:
            data = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise LoadError(f"{path}: cannot be read as a calibration: {error}") from None
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise LoadError(f"{path}: is no calibration of format {_FORMAT}")
        try:
            report = data["report"]
            report["coverage"] = [tuple(row) for row in report["coverage"]]
            data["report"] = Report(**report)
            made = cls(**{field.name: data[field.name] for field in fields(cls)})
            if made.feature not in FEATURES or made.method not in ("temperature", "isotonic"):
                raise ValueError(f"{made.feature!r} by {made.method!r} is not known")
            made.of_score(0.5)  # the parameters are there and are numbers
        except (KeyError, TypeError, ValueError, ArithmeticError, IndexError) as error:
            raise LoadError(f"{path}: a field is missing or wrong: {error}") from None
        return made


def _interpolate(score: float, x: Sequence[float], y: Sequence[float]) -> float:
    for i in range(1, len(x)):
        if score < x[i]:
            part = (score - x[i - 1]) / (x[i] - x[i - 1])
            return y[i - 1] + max(part, 0.0) * (y[i] - y[i - 1])
    return y[-1]


def identity(model: Model) -> dict[str, Any]:
    """What a calibration belongs to: weights, texts and formats."""
    prints = model.fingerprint
    names = ("weights", "config", "tokenizer", "chat_template")
    settings: Mapping[str, Any] = model.settings
    return {**{name: getattr(prints, name) for name in names}, **settings}


class Calibrated:
    """The part of `Model` that knows its calibration."""

    _calibration: Calibration | None = None

    @property
    def calibration(self) -> Calibration | None:
        """What `out.confidence` comes from; ValueError for one that was fitted to another model."""
        return self._calibration

    @calibration.setter
    def calibration(self, calibration: Calibration | None) -> None:
        if calibration is not None:
            calibration.check(self)  # type: ignore[arg-type]
        self._calibration = calibration

    def _calibrated(self, sampling: Sampling) -> Sampling:
        """`sampling` with the calibration that holds for it."""
        if sampling.calibration is not None:
            sampling.calibration.check(self)  # type: ignore[arg-type]
            return sampling
        if sampling.abstain_below is not None and self._calibration is None:
            raise ValueError(
                f"abstain_below={sampling.abstain_below} needs a calibration: fit one with "
                "genfast.calibrate(model, labelled), then pass it or set model.calibration"
            )
        return replace(sampling, calibration=self._calibration)
