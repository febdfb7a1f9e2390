"""Diffusion over pixels, told a class or nothing: a UNet, or a small transformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from genfast.images.options import Options, labels_of
from genfast.images.pipelines.diffusion import Diffusion, Task, sides


class PixelDiffusion(Diffusion):
    """model(sample, timestep[, labels]); classes: None where it is told nothing. side: of images;
    multiple: of which sides must be; None: of any other size than `side` there are none."""

    parts = ("model",)

    def __init__(
        self,
        path,
        config,
        scheduler,
        fields,
        model,
        *,
        classes: int | None,
        channels: int,
        side: tuple[int, int],
        multiple: int | None,
    ) -> None:
        super().__init__(path, config, scheduler, fields)
        self.model, self.classes, self.side, self.multiple = model, classes, side, multiple
        self.pixel_channels = channels

    def _task(self, prompt: Any, options: Options) -> Task:
        if self.multiple is None:
            for name, side in zip(("height", "width"), self.side, strict=True):
                if getattr(options, name) not in (None, side):
                    raise ValueError(f"{name}={getattr(options, name)} is not allowed: only {side}")
        if options.negative_prompt is not None or options.guidance_scale is not None:
            raise ValueError("negative_prompt and guidance_scale need a model with guidance")
        options.only(
            *("steps", "height", "width", "latents", "image", "mask", "scheduler"),
            why="this model is a diffusion model over pixels",
        )
        height, width = sides(options, *self.side, self.multiple or 1)
        labels = labels_of(prompt, self.classes, {})
        labels = [label for label in labels for _ in range(options.n)]
        shape = (len(labels), self.pixel_channels, height, width)

        def predict(x: np.ndarray, t: float) -> np.ndarray:
            if self.classes is None:
                return self.model(x, t)
            return self.model(x, t, labels)

        return Task(shape, predict)
