"""Latent diffusion told a class: DiT. Upstream: diffusers' pipelines/dit."""

from __future__ import annotations

from typing import Any

import numpy as np

from genfast.images.directory import Index
from genfast.images.models.dit import DiTTransformer2DModel
from genfast.images.options import Options, labels_of
from genfast.images.pipelines.autoencoded import Autoencoded
from genfast.images.pipelines.diffusion import Task, guided, sides


class ClassDiffusion(Autoencoded):
    parts = ("model", "vae")
    guidance = 4.0

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        kinds = {"DiTTransformer2DModel": DiTTransformer2DModel}
        kinds["Transformer2DModel"] = DiTTransformer2DModel
        self.model = index.network("transformer", kinds)
        self._check_channels(self.model, variances=True)
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
        channels = self.channels

        def predict(x: np.ndarray, t: float) -> np.ndarray:
            if scale <= 1:
                return self.model(x, t, labels)[:, :channels]
            nothing = [config.classes] * len(labels)
            output = self.model(np.concatenate([x, x]), t, nothing + labels)
            return guided(output[:, :channels], scale)

        return Task((len(labels), channels, config.side, config.side), predict)
