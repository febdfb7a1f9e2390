"""The sampler's distribution against transformers' processors (tests/goldens/sampler.json)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import genfast
from genfast import _core, ops

CASES = json.loads((Path(__file__).parents[1] / "goldens/sampler.json").read_text())
EDGE = 1e-5  # of a cumulated probability: float32 scores, and nine digits in the file


@pytest.mark.parametrize("isa", genfast.cpu_info()["isas"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["settings"]))
def test_same_distribution_as_hugging_face(isa, case):
    settings = dict(case["settings"])
    expected = np.array(case["probabilities"])
    logits = np.array(case["logits"], np.float32)
    penalty = settings.pop("repetition_penalty", 1.0)
    sampler = _core.Sampler(_core.SamplingParams(repetition_penalty=penalty), case["seen"])
    _, _, _, edited = sampler.next(logits, 0)

    # Every kept token owns an interval of draws, as long as it is probable, the largest first.
    order = np.argsort(-expected, kind="stable")[: np.count_nonzero(expected)]
    ends = np.cumsum(expected[order])
    for token, begin, end in zip(order, ends - expected[order], ends, strict=True):
        if end - begin < 3 * EDGE:
            continue
        for draw in (max(begin + EDGE, 0.0), end - EDGE):
            assert ops.sample(edited, draw=draw, isa=isa, **settings) == token
    last = ops.sample(edited, draw=1 - 2.0**-53, isa=isa, **settings)
    assert expected[last] > 0  # what they drop, we drop
