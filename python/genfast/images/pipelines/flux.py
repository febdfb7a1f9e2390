"""Flux: CLIP's pooled text and T5's tokens, patches of 2 × 2 latents, guidance that was learned.

Upstream: diffusers' pipelines/flux.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genfast.images import schedulers
from genfast.images.directory import Index
from genfast.images.models.clip_text import CLIPTextModel
from genfast.images.models.flux_transformer import FluxTransformer2DModel
from genfast.images.options import Options
from genfast.images.pipelines.diffusion import Predict, Task
from genfast.images.pipelines.flow import FlowDiffusion
from genfast.images.pipelines.text import Condition, open_clip, open_t5

_SIDE = 128  # latents, when `generate` is told no size
_PATCH = 2


class Flux(FlowDiffusion):
    """Of -dev, which is told how strongly to follow the text, and of -schnell, which is not."""

    beside = 0  # channels that the transformer is given beside each latent

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        kinds = {"FluxTransformer2DModel": FluxTransformer2DModel}
        self.transformer = index.network("transformer", kinds)
        self.told_guidance = self.transformer.config.guidance
        self.steps, self.guidance, length = (28, 3.5, 512) if self.told_guidance else (4, 1.0, 256)
        opened = [
            open_clip(index, "text_encoder", {"CLIPTextModel": CLIPTextModel}),
            open_t5(index, "text_encoder_2", length),
        ]
        self.tokens, self.encoders = map(list, zip(*opened, strict=True))
        self._check()

    def _check(self) -> None:
        network, config = self.transformer, self.transformer.config
        clip, t5 = (encoder.config.hidden_size for encoder in self.encoders)
        patch, inputs = _PATCH**2 * self.channels, _PATCH**2 * (self.channels + self.beside)
        for field, found, expected, why in (
            ("in_channels", config.in_channels, inputs, "four latents of the vae"),
            ("out_channels", config.out_channels, patch, "four latents of the vae"),
            ("pooled_projection_dim", config.pooled_size, clip, "as text_encoder gives"),
            ("joint_attention_dim", config.text_size, t5, "as text_encoder_2 gives"),
        ):
            if found != expected:
                network.fields.fail(field, f"{expected}, {why}")

    @property
    def distilled(self) -> bool:
        return True

    def encode(self, texts: list[str]) -> Condition:
        clip, t5 = (tokens(texts)[0] for tokens in self.tokens)
        return Condition(self.encoders[1](t5), self.encoders[0](clip).pooled)

    def _size(self) -> tuple[int, ...]:
        side = _SIDE * self.downscale
        return side, side, _PATCH * self.downscale

    def _task(self, prompt: Any, options: Options) -> Task:
        if not self.told_guidance and options.guidance_scale is not None:
            raise ValueError("guidance_scale is not allowed: this model is told no guidance")
        return super()._task(prompt, options)

    def _run(self, scheduler, steps: int, first: int, shape) -> schedulers.Run:
        tokens = (shape[2] // _PATCH) * (shape[3] // _PATCH)
        return scheduler.run(steps, first=first, tokens=tokens, last=1 / steps)

    def _predictor(self, told: Condition, scale: float, height: int, width: int) -> Predict:
        guidance = scale if self.told_guidance else None

        def predict(x: np.ndarray, t: float) -> np.ndarray:
            return unpacked(self.transformer(packed(x), t, told.states, told.pooled, guidance))

        return predict


class FluxFill(Flux):
    """Of -Fill, which is given what the mask keeps of the picture, and the mask's pixels."""

    blends = False
    strength = 1.0

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        self.steps, self.guidance = 50, 30.0

    @property
    def beside(self) -> int:
        return self.channels + self.downscale**2

    def _beside(self, shape: tuple[int, ...], options: Options) -> np.ndarray:
        kept, white = self._kept(shape, options)
        (count, _, height, width), side = shape, self.downscale
        pixels = white.reshape(count, height, side, width, side).transpose(0, 2, 4, 1, 3)
        mask = pixels.reshape(count, side**2, height, width).astype(np.float32)
        return np.concatenate([kept, mask], axis=1)


def packed(x: np.ndarray) -> np.ndarray:
    """[N, C, H, W] → [N, C · 4, H / 2, W / 2]: a patch's latents, channel by channel."""
    count, channels, height, width = x.shape
    rows, columns = height // _PATCH, width // _PATCH
    patches = x.reshape(count, channels, rows, _PATCH, columns, _PATCH)
    return patches.transpose(0, 1, 3, 5, 2, 4).reshape(count, -1, rows, columns)


def unpacked(x: np.ndarray) -> np.ndarray:
    """The inverse of `packed`."""
    count, channels, rows, columns = x.shape
    patches = x.reshape(count, channels // _PATCH**2, _PATCH, _PATCH, rows, columns)
    return patches.transpose(0, 1, 4, 2, 5, 3).reshape(count, -1, rows * _PATCH, columns * _PATCH)
