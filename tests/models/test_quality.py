"""int8, int4 and fp8 stay as close to float32 as a peer's formats of their kind, on the bundled
model.

The bounds are peers': tests/goldens/quality.json holds their KL divergence from float32 on the same
tokens of the same weights, as `python bench/quality.py --golden tests/goldens/quality.json`
measured it. int8 is held to llama.cpp's Q8_0 too, but for what its scale a row must cost beside a
scale for 32 numbers: rotated numbers are as good as normal, and the step follows the largest. No
peer has fp8: it is held to Q8_0 but for what three bits of mantissa must cost.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import genfast

# Of n normal numbers the largest magnitude is, on average: n = 32, and of the model's heads of 64
# and rows of 256.
LARGEST_OF_32, LARGEST_OF_64, LARGEST_OF_256 = 2.35, 2.61, 3.06
ROW_BESIDE_32 = (LARGEST_OF_256 / LARGEST_OF_32) ** 2  # squared errors, which KL follows: 1.7

# Squared errors of normal numbers, in parts of their variance. A number has E4M3's step by its own
# size, an eighth of its power of two; over an octave the mean square of a power of two is
# (1 - 1/4) / (2 log 2) of the numbers'. Integers' steps follow the largest; Q8_0 rounds activations
# alike, fp8 leaves them bfloat16.
STEP8 = (1 / 8) ** 2 / 12 * (3 / 4) / (2 * np.log(2))
FP8_BESIDE_Q8 = STEP8 / (2 * (LARGEST_OF_32 / 127) ** 2 / 12)  # 12

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
        ("fp8", "llama.cpp Q8_0", FP8_BESIDE_Q8),
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


def test_a_cache_in_fp8_is_no_further_than_its_steps_are_beside_int8_s(exact):
    """Squared errors of normal numbers again; int8 has a scale for a head's 64."""
    p = log_softmax(exact)
    kl = {}
    for kv_dtype in ("int8", "fp8"):
        q = log_softmax(all_logits(dtype="float32", kv_dtype=kv_dtype))
        kl[kv_dtype] = (np.exp(p) * (p - q)).sum(-1)
    times = STEP8 / ((LARGEST_OF_64 / 127) ** 2 / 12)
    chance = 2 * np.sqrt(2) * kl["fp8"].std() / np.sqrt(len(kl["fp8"]))
    print({name: each.mean() for name, each in kl.items()}, times, chance)
    assert 0 < kl["fp8"].mean() <= times * kl["int8"].mean() + chance
    assert chance < times * kl["int8"].mean() / 3
