"""Stable Diffusion 3 and 3.5: two CLIPs and, where it is there, T5 tell the text.

Esser et al., 2024 (arXiv 2403.03206). Upstream: diffusers' pipelines/stable_diffusion_3.
"""

from __future__ import annotations

import numpy as np

from genfast.images import schedulers
from genfast.images.directory import Index
from genfast.images.models.clip_text import CLIPTextModelWithProjection
from genfast.images.models.sd3_transformer import SD3Transformer2DModel
from genfast.images.pipelines.diffusion import Predict
from genfast.images.pipelines.flow import FlowDiffusion
from genfast.images.pipelines.text import Condition, open_clip, open_t5

_T5_TOKENS = 256


class StableDiffusion3(FlowDiffusion):
    steps = 28
    guidance = 7.0

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        kinds = {"SD3Transformer2DModel": SD3Transformer2DModel}
        self.transformer = index.network("transformer", kinds)
        kinds = {"CLIPTextModelWithProjection": CLIPTextModelWithProjection}
        opened = [open_clip(index, name, kinds) for name in ("text_encoder", "text_encoder_2")]
        self.has_t5 = index.has("text_encoder_3")
        if self.has_t5:
            opened.append(open_t5(index, "text_encoder_3", _T5_TOKENS))
        self.tokens, self.encoders = map(list, zip(*opened, strict=True))
        self._check()

    def _check(self) -> None:
        network, config = self.transformer, self.transformer.config
        self._check_channels(network)
        clips = [encoder.config for encoder in self.encoders[:2]]
        pooled = sum(clip.projection for clip in clips)
        if config.pooled_size != pooled:
            expected = f"{pooled}, as both CLIPs project to"
            network.fields.fail("pooled_projection_dim", expected)
        width = sum(clip.hidden_size for clip in clips)
        if self.has_t5 and config.text_size != self.encoders[2].config.hidden_size:
            expected = f"{self.encoders[2].config.hidden_size}, the d_model of text_encoder_3"
            network.fields.fail("joint_attention_dim", expected)
        if config.text_size < width:
            network.fields.fail("joint_attention_dim", f"{width} or more, as both CLIPs give")

    def encode(self, texts: list[str]) -> Condition:
        """CLIP's tokens side by side and padded with zeros to T5's width, and then T5's."""
        width = self.transformer.config.text_size
        clips = [
            encoder(tokens(texts)[0])
            for tokens, encoder in zip(self.tokens[:2], self.encoders[:2], strict=True)
        ]
        states = np.concatenate([clip.before_last for clip in clips], axis=2)
        states = np.pad(states, ((0, 0), (0, 0), (0, width - states.shape[2])))
        if self.has_t5:  # which sees the padding, as upstream
            t5 = self.encoders[2](self.tokens[2](texts)[0])
        else:
            t5 = np.zeros((len(texts), _T5_TOKENS, width), np.float32)
        pooled = np.concatenate([clip.pooled for clip in clips], axis=1)
        return Condition(np.concatenate([states, t5], axis=1), pooled)

    def _size(self) -> tuple[int, ...]:
        config = self.transformer.config
        side = self.transformer.fields.int("sample_size", 1, 1 << 14, default=128) * self.downscale
        multiple = self.downscale * config.patch
        return side, side, multiple, multiple * config.most_side

    def _run(self, scheduler, steps: int, first: int, shape) -> schedulers.Run:
        tokens = (shape[2] // self.transformer.config.patch) * (
            shape[3] // self.transformer.config.patch
        )
        return scheduler.run(steps, first=first, tokens=tokens)

    def _predictor(self, told: Condition, scale: float, height: int, width: int) -> Predict:
        return lambda x, t: self.transformer(x, t, told.states, told.pooled)
