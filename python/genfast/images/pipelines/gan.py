"""Generators of GANs: latents in, images out, without steps between."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from genfast.images.options import Options, integer, labels_of, refuse
from genfast.images.pipelines.base import ImagePipeline, Watch
from genfast.images.result import ImageResult

_PIXELS = 1 << 16  # that are made in one call, beyond which memory would grow


class Generator(Protocol):
    """What a GAN's model is. A point is all that an image is made of, a row of float32."""

    config: Any  # latent_size; classes: how many, or None; side: pixels

    def latents(self, seed: int, count: int, truncation: float | None) -> np.ndarray:
        """[N, latent_size]: an image's do not depend on how many there are."""

    def points(self, latents: np.ndarray, labels: list[int], truncation=None) -> np.ndarray:
        """[N, any]."""

    def between(self, first: np.ndarray, last: np.ndarray, part: float) -> np.ndarray:
        """A point `part` (0 to 1) of the way from one to the other, [1, any] all."""

    def __call__(self, points: np.ndarray, truncation: float | None = None) -> np.ndarray:
        """Images [N, C, S, S] in about [-1, 1]."""


class GAN(ImagePipeline):
    """A `Generator` and what is asked of it."""

    parts = ("model",)

    def __init__(self, path: Path, config: dict[str, Any], model: Generator) -> None:
        super().__init__(path, config)
        self.model = model

    def _generate(self, prompt: Any, options: Options, seed: int, watch: Watch) -> np.ndarray:
        options.only("latents", "truncation", why="this model makes an image in one call")
        labels = labels_of(prompt, self.model.config.classes, {})
        labels = [label for label in labels for _ in range(options.n)]
        latents = self.latents(len(labels), seed, options.truncation)
        if options.latents is not None:
            given = np.asarray(options.latents, np.float32)
            if given.shape != latents.shape:
                raise ValueError(
                    f"latents has shape {list(given.shape)}; allowed: {list(latents.shape)}"
                )
            latents = given
        points = self.model.points(latents, labels, options.truncation)
        return self._images(points, options.truncation, watch)

    def interpolate(
        self, seed_a: int, seed_b: int, steps: int = 8, prompt: Any = None, **options: Any
    ) -> ImageResult:
        """A way from the image of one seed to that of another, `steps` images (2 to 4096) with the
        two at the ends.

        prompt: a class, or [a, b]: from one class to another. truncation, output_type, callback:
        as in `generate`. ValueError for a keyword that is wrong or of no use here.
        """
        for name in ("seed", "n"):
            if name in options:
                raise ValueError(f"{name} is not allowed: there are seed_a, seed_b and steps")
        for name, seed in (("seed_a", seed_a), ("seed_b", seed_b)):
            integer(name, seed, 0, 2**64 - 1, optional=False)
        chosen = Options.make({"seed": seed_a, **options})
        chosen.only("truncation", why="interpolate goes from one seed's image to another's")
        integer("steps", steps, 2, 1 << 12, optional=False)
        labels = labels_of(prompt, self.model.config.classes, {})
        if len(labels) > 2:
            refuse("prompt", prompt, "a class, or two of them")

        def make(_seed: int, watch: Watch) -> np.ndarray:
            first, last = (
                self.model.points(
                    self.latents(1, seed, chosen.truncation), [label], chosen.truncation
                )
                for seed, label in ((seed_a, labels[0]), (seed_b, labels[-1]))
            )
            way = [self.model.between(first, last, i / (steps - 1)) for i in range(1, steps - 1)]
            points = np.concatenate([first, *way, last])
            return self._images(points, chosen.truncation, watch)

        return self._result(make, chosen)

    def latents(self, count: int, seed: int, truncation: float | None = None) -> np.ndarray:
        """What the seed's images are made of, float32 [count, latent_size]. truncation: that many
        deviations from 0 at most, where the model's latents are what it truncates."""
        return self.model.latents(seed, count, truncation)

    def _images(self, points: np.ndarray, truncation: float | None, watch: Watch) -> np.ndarray:
        """A few at a time: an image's numbers are the same with others and alone."""
        count = max(1, _PIXELS // self.model.config.side**2)
        starts = range(0, len(points), count)
        watch.begin(len(starts))
        made = []
        for first in starts:
            made.append(self.model(points[first : first + count], truncation))
            watch.step(np.concatenate(made))
        return np.concatenate(made)
