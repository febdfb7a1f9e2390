"""int8 and int4 stay as close to float32 as a peer's formats of their kind, on the bundled model.

The bounds are peers': tests/goldens/quality.json holds their KL divergence from float32 on the same
tokens of the same weights, as `python bench/quality.py --golden tests/goldens/quality.json`
measured it. int8 is held to llama.cpp's Q8_0 too, but for what its scale a row must cost beside a
scale for 32 numbers: rotated numbers are as good as normal, and the step follows the largest.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import genfast

# Of n normal numbers the largest magnitude is, on average: n = 32, and the model's rows of 256.
LARGEST_OF_32, LARGEST_OF_256 = 2.35, 3.06
ROW_BESIDE_32 = (LARGEST_OF_256 / LARGEST_OF_32) ** 2  # squared errors, which KL follows: 1.7

GOLDEN = json.loads((Path(__file__).parents[1] / "goldens/quality.json").read_text())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def all_logits(**options) -> np.ndarray:
    with genfast.load(**options) as model:
        return np.concatenate([model.logits(ids) for ids in GOLDEN["windows"]])


@pytest.fixture(scope="module")
def exact() -> np.ndarray:
    return all_logits(dtype="float32", kv_dtype="float32")


@pytest.mark.parametrize(
    ("quantize", "peer", "times"),
    [
        ("int8", "CTranslate2 int8", 1),
        ("int8", "llama.cpp Q8_0", ROW_BESIDE_32),
        ("int4", "llama.cpp Q4_0", 1),
    ],
)
def test_quantised_models_are_no_further_from_float32_than_a_peer(exact, quantize, peer, times):
    logits = all_logits(quantize=quantize)
    p, q = log_softmax(exact), log_softmax(logits)
    kl = (np.exp(p) * (p - q)).sum(-1)
    # Two roundings of the same kind are two draws: their means differ by chance, within twice the
    # standard error of a difference.
    chance = 2 * np.sqrt(2) * kl.std() / np.sqrt(len(kl))
    theirs = GOLDEN["peers"][peer]["kl"] * times
    print(f"{quantize}: {kl.mean():.6f}, {peer}: {theirs:.6f}, by chance {chance:.6f}")
    assert 0 < kl.mean() <= theirs + chance
    assert chance < theirs / 3  # or the text would be too short to tell
