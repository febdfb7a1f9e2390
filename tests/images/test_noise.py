"""Noise by counter: a number depends on seed, image, step and position alone."""

from __future__ import annotations

import math

import numpy as np

from genfast.images import noise


def test_an_image_of_a_batch_is_the_image_alone():
    shape = (3, 2, 5, 5)
    together = noise.batch(7, noise.INITIAL, shape)
    assert together.shape == shape and together.dtype == np.float32
    for image in range(3):
        alone = noise.normal(7, image, noise.INITIAL, shape[1:])
        assert alone.tobytes() == together[image].tobytes()


def test_a_number_does_not_depend_on_how_many_are_drawn():
    many = noise.normal(2**64 - 1, 3, 20, (1001,))
    for count in (1, 2, 3, 1000):
        assert noise.normal(2**64 - 1, 3, 20, (count,)).tobytes() == many[:count].tobytes()


def test_seeds_images_and_steps_differ():
    draws = [noise.normal(*key, (64,)) for key in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))]
    for i, one in enumerate(draws):
        for other in draws[i + 1 :]:
            assert not np.isin(one, other).any()


def test_they_are_normal():
    """Kolmogorov and Smirnov's distance; of one seed, so it cannot fail by chance."""
    numbers = np.sort(noise.normal(5, 0, 0, (40_000,)).astype(np.float64))
    share = np.array([0.5 * (1 + math.erf(x / 2**0.5)) for x in numbers])
    ranks = np.arange(len(numbers) + 1) / len(numbers)
    distance = max(np.abs(share - ranks[1:]).max(), np.abs(share - ranks[:-1]).max())
    assert distance < 1.36 / len(numbers) ** 0.5
    pairs = noise.normal(5, 0, 0, (20_000, 2)).astype(np.float64)
    assert abs((pairs[:, 0] * pairs[:, 1]).mean()) < 4 / 20_000**0.5
