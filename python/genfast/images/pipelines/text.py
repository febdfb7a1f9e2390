"""Latent diffusion told a text: what its pipelines share, whatever encodes the text and denoises.

A tokenizer goes with each text encoder: `text_encoder_2` with `tokenizer_2`, and so on.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from genfast.images.directory import Index
from genfast.images.models.clip_text import CLIPTextModel, CLIPTextModelWithProjection
from genfast.images.models.t5_encoder import T5EncoderModel
from genfast.images.options import Options
from genfast.images.pipelines.autoencoded import Autoencoded
from genfast.images.pipelines.diffusion import Predict, Task, guided, sides
from genfast.images.prompt_tokens import PromptTokens, texts_of

_CLIP = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
}


@dataclass(frozen=True)
class Condition:
    """What a denoiser is told of texts. states [N, T, E]; pooled [N, P] and seen [N, T] (false
    where a token is padding), for denoisers that take them."""

    states: np.ndarray
    pooled: np.ndarray | None = None
    seen: np.ndarray | None = None

    def zeros(self) -> Condition:
        pooled = None if self.pooled is None else np.zeros_like(self.pooled)
        return Condition(np.zeros_like(self.states), pooled, self.seen)

    def after(self, other: Condition) -> Condition:
        """One batch of both, `other` first."""

        def joined(first, second):
            return None if second is None else np.concatenate([first, second])

        return Condition(
            joined(other.states, self.states),
            joined(other.pooled, self.pooled),
            joined(other.seen, self.seen),
        )


class TextDiffusion(Autoencoded):
    """guidance: when `generate` is told none. zeros_for_empty: without a negative prompt, zeros
    stand for what an empty one would be encoded as."""

    guidance = 7.5
    zeros_for_empty = False

    @property
    def distilled(self) -> bool:
        """Whether the denoiser needs no half without the prompt, as it has learned guidance."""
        return False

    @abstractmethod
    def encode(self, texts: list[str]) -> Condition:
        """What the denoiser is told of texts."""

    @abstractmethod
    def _size(self) -> tuple[int, ...]:
        """The usual height and width in pixels, what sides must be multiples of, and the most of
        one where there is such."""

    @abstractmethod
    def _predictor(self, told: Condition, scale: float, height: int, width: int) -> Predict:
        """From as many samples as `told` has texts, and a timestep. scale: of guidance, for those
        that have learned it."""

    def _task(self, prompt: Any, options: Options) -> Task:
        options.only(
            *("negative_prompt", "steps", "guidance_scale", "height", "width", "latents"),
            *("image", "mask", "scheduler"),
            why="this is a diffusion model",
        )
        height, width = sides(options, *self._size())
        texts = [text for text in texts_of("prompt", prompt) for _ in range(options.n)]
        scale = self.guidance if options.guidance_scale is None else options.guidance_scale
        both = scale > 1 and not self.distilled
        if options.negative_prompt is not None and not both:
            raise ValueError(
                "negative_prompt needs guidance_scale above 1, and a model that uses it"
            )
        told = self.encode(texts)
        if both:
            told = told.after(self._without(told, options.negative_prompt, options.n))
        side = self.downscale
        shape = (len(texts), self.channels, height // side, width // side)
        predict_all = self._predictor(told, scale, height, width)
        beside = self._beside(shape, options)

        def predict(x: np.ndarray, t: float) -> np.ndarray:
            if beside is not None:
                x = np.concatenate([x, beside], axis=1)
            if both:
                return guided(predict_all(np.concatenate([x, x]), t), scale)
            return predict_all(x, t)

        return Task(shape, predict)

    def _beside(self, shape: tuple[int, ...], options: Options) -> np.ndarray | None:
        """Channels that the denoiser is given beside the sample at each step, [N, any, H, W]."""
        return None

    def _without(self, told: Condition, negative: Any, n: int) -> Condition:
        """What stands for no prompt: the negative one of each text, or an empty one."""
        if negative is None and self.zeros_for_empty:
            return told.zeros()
        count = len(told.states)
        texts = texts_of("negative_prompt", "" if negative is None else negative)
        texts = [text for text in texts for _ in range(n)]
        if len(texts) not in (n, count):
            raise ValueError(
                f"negative_prompt holds {len(texts) // n} texts; allowed: 1 or {count // n}"
            )
        return self.encode(texts * (count // len(texts)))


def open_clip(index: Index, name: str, kinds: dict = _CLIP) -> tuple[PromptTokens, CLIPTextModel]:
    """Component `name` and its tokenizer."""
    encoder = index.network(name, kinds)
    return _tokens(index, name, "CLIPTokenizer", "vocab.json", encoder.config.context), encoder


def open_t5(index: Index, name: str, length: int) -> tuple[PromptTokens, T5EncoderModel]:
    """Component `name` and its tokenizer, of texts of `length` tokens."""
    encoder = index.network(name, {"T5EncoderModel": T5EncoderModel})
    return _tokens(index, name, "T5Tokenizer", "spiece.model", length), encoder


def _tokens(index: Index, encoder: str, kind: str, file: str, length: int) -> PromptTokens:
    """file: what stands for a tokenizer.json where there is none."""
    name = encoder.replace("text_encoder", "tokenizer")
    index.class_of(name, kind, f"{kind}Fast")
    return PromptTokens(index.folder(name, "tokenizer.json", file), length)
