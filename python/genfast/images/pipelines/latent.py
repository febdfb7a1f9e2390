"""Latent diffusion told a text: Stable Diffusion 1.x, 2.x and XL, and latent consistency models.

Rombach et al., 2022 (arXiv 2112.10752); Podell et al., 2023 (arXiv 2307.01952). Upstream:
diffusers' pipelines/stable_diffusion and stable_diffusion_xl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genfast.images.directory import Index
from genfast.images.models._network import timestep_embedding
from genfast.images.models.autoencoder_kl import AutoencoderKL
from genfast.images.models.clip_text import CLIPTextModel, CLIPTextModelWithProjection
from genfast.images.models.unet2d_condition import UNet2DConditionModel
from genfast.images.options import Options
from genfast.images.pipelines.diffusion import Diffusion, Task, guided, sides
from genfast.images.prompt_tokens import PromptTokens, texts_of

_TILE = 64  # latents a side that are decoded at once, beyond which memory would grow
_ENCODERS = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}


@dataclass(frozen=True)
class Condition:
    """states [N, T, E]; pooled [N, P], of XL."""

    states: np.ndarray
    pooled: np.ndarray | None

    def zeros(self) -> Condition:
        pooled = None if self.pooled is None else np.zeros_like(self.pooled)
        return Condition(np.zeros_like(self.states), pooled)


class LatentDiffusion(Diffusion):
    parts = ("unet", "vae", "encoders")
    guidance = 7.5

    def __init__(self, index: Index) -> None:
        super().__init__(index.directory, index.fields.values, *index.scheduler())
        self.unet = index.network("unet", {"UNet2DConditionModel": UNet2DConditionModel})
        self.vae = index.network("vae", {"AutoencoderKL": AutoencoderKL})
        names = ["text_encoder"] * index.has("text_encoder")
        names += ["text_encoder_2"] * index.has("text_encoder_2")
        if not names:
            index.fields.fail("text_encoder", '["transformers", "CLIPTextModel"]')
        self.encoders = [index.network(name, _ENCODERS) for name in names]
        self.tokens = []
        for name, encoder in zip(names, self.encoders, strict=True):
            part = name.replace("text_encoder", "tokenizer")
            index.class_of(part, "CLIPTokenizer", "CLIPTokenizerFast")
            folder = index.directory / part
            file = "tokenizer.json" if (folder / "tokenizer.json").exists() else "vocab.json"
            self.tokens.append(PromptTokens(index.folder(part, file), encoder.config.context))
        self.xl = self.unet.config.added_dim is not None
        self.zeros_for_empty = index.fields.bool("force_zeros_for_empty_prompt", default=False)
        self.downscale = self.vae.config.scale
        self.pixel_channels = self.vae.config.in_channels
        self._check()

    def _check(self) -> None:
        unet, vae = self.unet, self.vae.config
        expected = vae.latent_channels
        if unet.config.in_channels != expected:
            unet.fields.fail("in_channels", f"{expected}, as many as the vae's latent_channels")
        if unet.config.out_channels != expected:
            unet.fields.fail("out_channels", f"{expected}, as many as the vae's latent_channels")
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

    # --- the prompt -----------------------------------------------------------------------------

    def encode(self, texts: list[str]) -> Condition:
        """What the denoiser is told of texts."""
        found = [
            encoder(tokens(texts)[0])
            for tokens, encoder in zip(self.tokens, self.encoders, strict=True)
        ]
        if not self.xl:
            return Condition(found[0].last, None)
        states = np.concatenate([encoding.before_last for encoding in found], axis=2)
        return Condition(states, found[-1].pooled)

    def _task(self, prompt: Any, options: Options) -> Task:
        options.only(
            *("negative_prompt", "steps", "guidance_scale", "height", "width", "latents"),
            *("image", "mask", "scheduler"),
            why="this is a diffusion model",
        )
        side = self.unet.fields.ints("sample_size", 1, 1 << 14, default=(64,), most=2)
        scale = self.downscale
        usual = (side[0] * scale, side[-1] * scale)
        height, width = sides(options, *usual, scale << (len(self.unet.config.channels) - 1))
        texts = [text for text in texts_of("prompt", prompt) for _ in range(options.n)]
        scale_of_guidance = self.guidance
        if options.guidance_scale is not None:
            scale_of_guidance = options.guidance_scale
        told = self.encode(texts)
        distilled = self.unet.config.guidance_dim is not None
        both = scale_of_guidance > 1 and not distilled
        if both:
            told = self._with_negative(told, options.negative_prompt, len(texts), options.n)
        elif options.negative_prompt is not None:
            raise ValueError(
                "negative_prompt needs guidance_scale above 1, and a model that uses it"
            )
        predict = self._predictor(told, scale_of_guidance, both, height, width)
        shape = (len(texts), self.vae.config.latent_channels, height // scale, width // scale)
        return Task(shape, predict)

    def _with_negative(self, told: Condition, negative: Any, count: int, n: int) -> Condition:
        """The negative (or empty) prompts' halves first."""
        if negative is None and self.zeros_for_empty:
            without = told.zeros()
        else:
            texts = texts_of("negative_prompt", "" if negative is None else negative)
            texts = [text for text in texts for _ in range(n)]
            if len(texts) not in (n, count):
                raise ValueError(
                    f"negative_prompt holds {len(texts) // n} texts; allowed: 1 or {count // n}"
                )
            without = self.encode(texts * (count // len(texts)))
        pooled = None
        if told.pooled is not None:
            pooled = np.concatenate([without.pooled, told.pooled])
        return Condition(np.concatenate([without.states, told.states]), pooled)

    def _predictor(self, told: Condition, scale: float, both: bool, height: int, width: int):
        count = len(told.states)
        more: dict[str, np.ndarray] = {}
        if self.xl:
            sizes = np.array([height, width, 0, 0, height, width], np.float32)
            more = {"text_embeds": told.pooled, "time_ids": np.tile(sizes, (count, 1))}
        if self.unet.config.guidance_dim is not None:
            amount = np.full(count, (scale - 1) * 1000, np.float32)
            size = self.unet.config.guidance_dim
            more["guidance"] = timestep_embedding(amount, size, flip_sin_to_cos=False, freq_shift=1)

        def predict(x: np.ndarray, t: float) -> np.ndarray:
            if both:
                x = np.concatenate([x, x])
            output = self.unet(x, t, told.states, **more)
            return guided(output, scale) if both else output

        return predict

    # --- latents --------------------------------------------------------------------------------

    def _pixels(self, sample: np.ndarray) -> np.ndarray:
        vae = self.vae.config
        latents = sample / np.float32(vae.scaling_factor) + np.float32(vae.shift_factor)
        return self.vae.decode(latents, tile=_TILE)

    def _encode(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """The likeliest latents: no noise beside the scheduler's."""
        vae = self.vae.config
        mean, _ = self.vae.encode(pixels)
        return (mean - np.float32(vae.shift_factor)) * np.float32(vae.scaling_factor)


def open_xl(index: Index) -> LatentDiffusion:
    pipeline = LatentDiffusion(index)
    pipeline.guidance = 5.0
    if not pipeline.xl:
        pipeline.unet.fields.fail("addition_embed_type", '"text_time": this is XL')
    return pipeline


def open_consistency(index: Index) -> LatentDiffusion:
    pipeline = LatentDiffusion(index)
    pipeline.steps, pipeline.guidance = 4, 8.5
    return pipeline
