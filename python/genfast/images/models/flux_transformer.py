"""FluxTransformer2DModel: first two streams, a text's and an image's, then one of both.

Upstream: diffusers' models/transformers/transformer_flux.py; the joint layers are those of Esser et
al., 2024 (arXiv 2403.03206), the parallel ones of Dehghani et al., 2023 (arXiv 2302.05442).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._network import Network, per_item, timestep_embedding
from genfast.images.models._transformer import TIME, JointLayers, TransformerConfig, common_fields
from genfast.images.weights import ImageWeights

_THETA = 10000.0
_OWN, _ADDED = "norm_{}", "norm_added_{}"


@dataclass(frozen=True)
class Config(TransformerConfig):
    single_layers: int
    text_size: int
    pooled_size: int
    guidance: bool  # whether it is told how strongly to follow the text
    axes: tuple[int, ...]  # of a head, how many numbers turn with each of three positions

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        common = common_fields(cfg, channels=64, heads=24, head_dim=128, layers=19, patch=1)
        if common["patch"] != 1:
            cfg.fail("patch_size", "1: latents come packed")
        size = common["head_dim"]
        axes = tuple(cfg.ints("axes_dims_rope", 2, 1 << 10, default=(16, 56, 56)))
        if len(axes) != 3 or sum(axes) != size or any(axis % 2 for axis in axes):
            cfg.fail("axes_dims_rope", f"three even numbers, attention_head_dim = {size} together")
        return cls(
            **common,
            single_layers=cfg.int("num_single_layers", 0, 1 << 10, default=38),
            text_size=cfg.int("joint_attention_dim", 1, 1 << 16, default=4096),
            pooled_size=cfg.int("pooled_projection_dim", 1, 1 << 16, default=768),
            guidance=cfg.bool("guidance_embeds", default=False),
            axes=axes,
        )


def angles(cfg: Config, tokens: int, height: int, width: int) -> np.ndarray:
    """Of a text's tokens, all at the origin, and then of the image's: [T + H · W, D / 2]."""
    places = np.zeros((tokens + height * width, 3))
    places[tokens:, 1] = np.repeat(np.arange(height), width)
    places[tokens:, 2] = np.tile(np.arange(width), height)
    turns = [_THETA ** -(np.arange(0, axis, 2) / axis) for axis in cfg.axes]
    return np.concatenate([np.outer(place, t) for place, t in zip(places.T, turns, strict=True)], 1)


class _Layers(JointLayers):
    """Of `count` samples of height · width patches, and `tokens` of text, which come first."""

    def __init__(self, g, w, cfg: Config, count: int, height: int, width: int, tokens: int) -> None:
        super().__init__(g, w, cfg, count)
        self.tokens, self.patch_count = tokens, height * width
        turned = np.tile(angles(cfg, tokens, height, width), (count, 1))
        self.angles = g.rope_angles(turned)

    def turned_attend(self, name: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        size = {"heads": self.cfg.heads, "head_dim": self.cfg.head_dim}
        q, k = (self.g.rope(x, self.angles, **size, interleaved=True) for x in (q, k))
        return self.attend(name, q, k, v)

    def double(self, i: int, x: Tensor, text: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        g, b, hidden, count = self.g, self.b, self.cfg.hidden_size, self.count
        name = f"transformer_blocks.{i}"
        c = b.linear(f"{name}.norm1.linear", told, 6 * hidden)
        d = b.linear(f"{name}.norm1_context.linear", told, 6 * hidden)
        own = self.qkv(f"{name}.attn", self.modulated(x, c, shift=0, scale=1), self.OWN, _OWN)
        normed = self.modulated(text, d, shift=0, scale=1)
        added = self.qkv(f"{name}.attn", normed, self.ADDED, _ADDED)
        both = [g.concat_rows(e, a, items=count) for a, e in zip(own, added, strict=True)]
        h = self.turned_attend(f"{name}.attn", *both)
        mine = g.rows(h, self.tokens, self.patch_count, items=count)
        theirs = g.rows(h, 0, self.tokens, items=count)
        x = self.gated(b.linear(f"{name}.attn.to_out.0", mine, hidden), c, 2, x)
        text = self.gated(b.linear(f"{name}.attn.to_add_out", theirs, hidden), d, 2, text)
        return self.mlp(f"{name}.ff", x, c), self.mlp(f"{name}.ff_context", text, d)

    def single(self, i: int, x: Tensor, told: Tensor) -> Tensor:
        """Attention and feed-forward side by side, and one projection out of both."""
        b, hidden = self.b, self.cfg.hidden_size
        name = f"single_transformer_blocks.{i}"
        c = b.linear(f"{name}.norm.linear", told, 3 * hidden)
        h = self.modulated(x, c, shift=0, scale=1)
        attended = self.turned_attend(f"{name}.attn", *self.qkv(f"{name}.attn", h, self.OWN, _OWN))
        fed = b.linear(f"{name}.proj_mlp", h, 4 * hidden, activation="gelu_tanh")
        h = b.linear(f"{name}.proj_out", self.g.concat(attended, fed), hidden)
        return self.gated(h, c, 2, x)


def record(
    g: ImageGraph, w: ImageWeights, cfg: Config, count: int, height: int, width: int, tokens: int
) -> None:
    """Inputs sample [N, C, H, W], text [N · T, E'], pooled [N, P], time [N, 256] and, where the
    model takes it, guidance likewise; output velocity [N, C', H, W]."""
    layers = _Layers(g, w, cfg, count, height, width, tokens)
    told = layers.told(cfg.pooled_size, cfg.guidance)
    text = g.input("text", count * tokens, cfg.text_size)
    text = layers.b.linear("context_embedder", text, cfg.hidden_size)
    x = g.image("sample", count, cfg.in_channels, height, width)
    x = layers.b.linear("x_embedder", x, cfg.hidden_size)
    for i in range(cfg.layers):
        x, text = layers.double(i, x, text, told)
    x = g.concat_rows(text, x, items=count)
    for i in range(cfg.single_layers):
        x = layers.single(i, x, told)
    x = g.rows(x, tokens, height * width, items=count)
    x = layers.last(x, told, cfg.out_channels)
    g.output("velocity", replace(x, grid=(count, height, width)))


class FluxTransformer2DModel(Network):
    """model(sample, timestep, text, pooled[, guidance]) → the velocity from image to noise."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "FluxTransformer2DModel", **options)
        self.config = Config.from_json(self.fields)

    def __call__(
        self,
        sample: np.ndarray,
        timestep,
        text: np.ndarray,
        pooled: np.ndarray,
        guidance: float | None = None,
    ) -> np.ndarray:
        """sample [N, C, H, W], C being all channels of a patch of latents; timestep of 0 to 1000:
        one for all or [N]; text [N, T, E'], pooled [N, P] → [N, C', H, W]. guidance: how strongly
        to follow the text, of models that take it."""
        cfg = self.config
        count, _, height, width = sample.shape
        tokens = text.shape[1]
        if cfg.guidance != (guidance is not None):
            raise ValueError(f"this model takes {'a' if cfg.guidance else 'no'} guidance")
        runner = self._runner(
            (sample.shape, tokens),
            lambda g, w: record(g, w, cfg, count, height, width, tokens),
        )
        more = {}
        if guidance is not None:
            more["guidance"] = timestep_embedding(per_item(1000 * guidance, count), TIME)
        return runner.run(
            sample=sample,
            text=np.asarray(text, np.float32).reshape(count * tokens, -1),
            pooled=pooled,
            time=timestep_embedding(per_item(timestep, count), TIME),
            **more,
        )["velocity"]
