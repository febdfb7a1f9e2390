"""Gaussian noise by counter: a number is a function of (seed, image, step, position) alone.

So an image of a batch is the image that its seed gives by itself, and a step's noise does not
depend on how many were drawn before. Philox (Salmon et al., SC 2011) as NumPy has it, whose raw
words are fixed by its documentation, and Box and Muller's transform (1958) over pairs of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

INITIAL = 0  # the step number of the noise that an image starts from; those of steps follow


def normal(seed: int, image: int, step: int, shape: Sequence[int]) -> np.ndarray:
    """Standard normal numbers, float32 of `shape`. seed: 0 to 2^64 - 1; image: its place in the
    batch; step: INITIAL or 1 + the step that asks."""
    count = math.prod(shape)
    pairs = (count + 1) // 2
    words = np.random.Philox(key=seed, counter=[0, 0, step, image]).random_raw(2 * pairs)
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # never 0, nor 1
    radius = np.sqrt(-2 * np.log(uniform[0::2]))
    angle = 2 * np.pi * uniform[1::2]
    numbers = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return numbers.reshape(-1)[:count].reshape(shape).astype(np.float32)


def batch(seed: int, step: int, shape: Sequence[int]) -> np.ndarray:
    """`normal` for each image of a batch: float32 [N, ...]."""
    return np.stack([normal(seed, image, step, shape[1:]) for image in range(shape[0])])


def bounded(seed: int, shape: Sequence[int], limit: float) -> np.ndarray:
    """`batch` of step INITIAL, whose numbers further than `limit` from 0 are drawn again: the
    truncation of GANs (Brock et al., 2018, arXiv 1809.11096)."""
    numbers = batch(seed, INITIAL, shape)
    for again in range(1, 100):
        far = np.abs(numbers) > limit
        if not far.any():
            break
        numbers = np.where(far, batch(seed, again, shape), numbers)
    return np.clip(numbers, -limit, limit)


def between(first: np.ndarray, last: np.ndarray, part: float, size: int) -> np.ndarray:
    """A point `part` (0 to 1) of the way from one to the other, [1, any] each.

    The first `size` columns are noise, which keeps its length where its direction turns evenly
    (White, 2016, arXiv 1609.04468); a straight line would lead through numbers nearer to 0 than
    noise ever is. What follows goes straight.
    """
    straight = first + (last - first) * np.float32(part)
    a, b = (x[0, :size].astype(np.float64) for x in (first, last))
    lengths = np.sqrt((a * a).sum() * (b * b).sum())
    angle = np.arccos(np.clip((a * b).sum() / lengths, -1, 1)) if lengths else 0.0
    if angle > 1e-6 and np.sin(angle) > 1e-6:
        turned = (np.sin((1 - part) * angle) * a + np.sin(part * angle) * b) / np.sin(angle)
        straight[0, :size] = turned
    return straight
