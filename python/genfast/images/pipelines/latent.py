"""Latent diffusion told a text: Stable Diffusion 1.x, 2.x and XL, and latent consistency models.

Rombach et al., 2022 (arXiv 2112.10752); Podell et al., 2023 (arXiv 2307.01952). Upstream:
diffusers' pipelines/stable_diffusion and stable_diffusion_xl.
"""

from __future__ import annotations

import numpy as np

from genfast.images.directory import Index
from genfast.images.models._network import timestep_embedding
from genfast.images.models.unet2d_condition import UNet2DConditionModel
from genfast.images.options import Options
from genfast.images.pipelines.diffusion import Predict
from genfast.images.pipelines.text import Condition, TextDiffusion, open_clip


class LatentDiffusion(TextDiffusion):
    """inpainting: the UNet may be one that is given, beside the sample, the mask and what it keeps
    of the picture, and fills in the rest."""

    parts = ("unet", "vae", "encoders")

    def __init__(self, index: Index, *, inpainting: bool = False) -> None:
        super().__init__(index)
        self.unet = index.network("unet", {"UNet2DConditionModel": UNet2DConditionModel})
        names = [name for name in ("text_encoder", "text_encoder_2") if index.has(name)]
        if not names:
            index.fields.fail("text_encoder", '["transformers", "CLIPTextModel"]')
        opened = [open_clip(index, name) for name in names]
        self.tokens, self.encoders = map(list, zip(*opened, strict=True))
        self.xl = self.unet.config.added_dim is not None
        self.zeros_for_empty = index.fields.bool("force_zeros_for_empty_prompt", default=False)
        if inpainting and self.unet.config.in_channels != self.channels:
            self.blends, self.strength = False, 1.0
        self._check()

    def _check(self) -> None:
        unet = self.unet
        self._check_channels(unet, beside=0 if self.blends else 1 + self.channels)
        width = sum(encoder.config.hidden_size for encoder in self.encoders)
        if unet.config.context_dim != width:
            unet.fields.fail("cross_attention_dim", f"{width}, as the text encoders give")
        if self.xl:
            last = self.encoders[-1].config
            if unet.config.added_dim != last.projection + 6 * unet.config.time_ids_dim:
                unet.fields.fail(
                    "projection_class_embeddings_input_dim",
                    f"{last.projection} of the last text encoder + 6 · addition_time_embed_dim",
                )

    @property
    def distilled(self) -> bool:
        return self.unet.config.guidance_dim is not None

    def encode(self, texts: list[str]) -> Condition:
        found = [
            encoder(tokens(texts)[0])
            for tokens, encoder in zip(self.tokens, self.encoders, strict=True)
        ]
        if not self.xl:
            return Condition(found[0].last)
        states = np.concatenate([encoding.before_last for encoding in found], axis=2)
        return Condition(states, found[-1].pooled)

    def _beside(self, shape: tuple[int, ...], options: Options) -> np.ndarray | None:
        if self.blends:
            return None
        kept, white = self._kept(shape, options)
        step = self.downscale
        mask = white[:, :, ::step, ::step].astype(np.float32)
        return np.concatenate([mask, kept], axis=1)

    def _size(self) -> tuple[int, ...]:
        side = self.unet.fields.ints("sample_size", 1, 1 << 14, default=(64,), most=2)
        scale = self.downscale
        multiple = scale << (len(self.unet.config.channels) - 1)
        return side[0] * scale, side[-1] * scale, multiple

    def _predictor(self, told: Condition, scale: float, height: int, width: int) -> Predict:
        count = len(told.states)
        more: dict[str, np.ndarray] = {}
        if self.xl:
            sizes = np.array([height, width, 0, 0, height, width], np.float32)
            more = {"text_embeds": told.pooled, "time_ids": np.tile(sizes, (count, 1))}
        if self.distilled:
            amount = np.full(count, (scale - 1) * 1000, np.float32)
            size = self.unet.config.guidance_dim
            more["guidance"] = timestep_embedding(amount, size, flip_sin_to_cos=False, freq_shift=1)
        return lambda x, t: self.unet(x, t, told.states, **more)


def open_inpainting(index: Index) -> LatentDiffusion:
    return LatentDiffusion(index, inpainting=True)


def open_xl(index: Index, **options) -> LatentDiffusion:
    pipeline = LatentDiffusion(index, **options)
    pipeline.guidance = 5.0
    if not pipeline.xl:
        pipeline.unet.fields.fail("addition_embed_type", '"text_time": this is XL')
    return pipeline


def open_xl_inpainting(index: Index) -> LatentDiffusion:
    return open_xl(index, inpainting=True)


def open_consistency(index: Index) -> LatentDiffusion:
    pipeline = LatentDiffusion(index)
    pipeline.steps, pipeline.guidance = 4, 8.5
    return pipeline
