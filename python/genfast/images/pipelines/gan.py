"""Generators of GANs: latents in, an image out, in one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genfast.images import noise
from genfast.images.options import Options, labels_of
from genfast.images.pipelines.base import ImagePipeline, Watch


class GAN(ImagePipeline):
    """model(latents, labels), with `config.latent_size` and `config.classes`."""

    parts = ("model",)

    def __init__(self, path: Path, config: dict[str, Any], model: Any) -> None:
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
        watch.begin(1)
        images = self.model(latents, labels)
        watch.step(images)
        return images

    def latents(self, count: int, seed: int, truncation: float | None = None) -> np.ndarray:
        """What the seed's images are made of, float32 [count, latent_size]; what lies between two
        of them is a way from one image to the other. truncation: numbers further from 0 are drawn
        again (Brock et al., 2018, arXiv 1809.11096)."""
        shape = (count, self.model.config.latent_size)
        latents = noise.batch(seed, noise.INITIAL, shape)
        if truncation:
            for again in range(1, 100):
                far = np.abs(latents) > truncation
                if not far.any():
                    break
                latents = np.where(far, noise.batch(seed, again, shape), latents)
            latents = np.clip(latents, -truncation, truncation)
        return latents * np.float32(0) if truncation == 0 else latents
