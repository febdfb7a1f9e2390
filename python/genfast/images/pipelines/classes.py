"""Latent diffusion told a class: DiT. Upstream: diffusers' pipelines/dit."""

from __future__ import annotations

from typing import Any

import numpy as np

from genfast.images.directory import Index
from genfast.images.models.autoencoder_kl import AutoencoderKL
from genfast.images.models.dit import DiTTransformer2DModel
from genfast.images.options import Options, labels_of
from genfast.images.pipelines.diffusion import Diffusion, Task, guided, sides

_TILE = 64  # latents a side that are decoded at once


class ClassDiffusion(Diffusion):
    parts = ("model", "vae")
    guidance = 4.0

    def __init__(self, index: Index) -> None:
        super().__init__(index.directory, index.fields.values, *index.scheduler())
        kinds = {"DiTTransformer2DModel": DiTTransformer2DModel}
        kinds["Transformer2DModel"] = DiTTransformer2DModel
        self.model = index.network("transformer", kinds)
        self.vae = index.network("vae", {"AutoencoderKL": AutoencoderKL})
        self.downscale, self.pixel_channels = self.vae.config.scale, self.vae.config.in_channels
        config, latents = self.model.config, self.vae.config.latent_channels
        if config.in_channels != latents:
            expected = f"{latents}, as many as the vae's latent_channels"
            self.model.fields.fail("in_channels", expected)
        if config.out_channels not in (latents, 2 * latents):
            self.model.fields.fail("out_channels", f"{latents}, or twice as many with variances")
        self.names = {}
        for number, names in (index.fields.values.get("id2label") or {}).items():
            for name in str(names).split(","):
                self.names[name.strip()] = int(number)

    def _task(self, prompt: Any, options: Options) -> Task:
        options.only(
            *("steps", "guidance_scale", "height", "width", "latents", "image", "mask"),
            "scheduler",
            why="this model is told a class",
        )
        config = self.model.config
        side = config.side * self.downscale
        if sides(options, side, side, self.downscale) != (side, side):
            raise ValueError(f"height and width must be {side}: this model has one size")
        labels = labels_of(prompt, config.classes, self.names)
        labels = [label for label in labels for _ in range(options.n)]
        scale = self.guidance if options.guidance_scale is None else options.guidance_scale
        channels = self.vae.config.latent_channels

        def predict(x: np.ndarray, t: float) -> np.ndarray:
            if scale <= 1:
                return self.model(x, t, labels)[:, :channels]
            nothing = [config.classes] * len(labels)
            output = self.model(np.concatenate([x, x]), t, nothing + labels)
            return guided(output[:, :channels], scale)

        return Task((len(labels), channels, config.side, config.side), predict)

    def _pixels(self, sample: np.ndarray) -> np.ndarray:
        return self.vae.decode(sample / np.float32(self.vae.config.scaling_factor), tile=_TILE)

    def _encode(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        return self.vae.encode(pixels)[0] * np.float32(self.vae.config.scaling_factor)
