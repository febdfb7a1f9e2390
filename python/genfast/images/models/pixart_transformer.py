"""PixArtTransformer2DModel: patches that attend to each other and to a caption, under one timestep.

Chen et al., 2023 (alpha, arXiv 2310.00426) and 2024 (sigma, arXiv 2403.04692). Upstream: diffusers'
models/transformers/pixart_transformer_2d.py. What modulates is made once for all layers, and each
adds a table of its own (adaLN-single).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._network import Network, per_item, timestep_embedding
from genfast.images.models._transformer import (
    ACTIVATIONS,
    TIME,
    Layers,
    TransformerConfig,
    check_positions,
    common_fields,
    only,
    positions,
)
from genfast.images.weights import ImageWeights

_MASKED = np.float32(-10000)
_LARGE = 128  # latents a side of the models that are told sizes, where the file is silent


@dataclass(frozen=True)
class Config(TransformerConfig):
    side: int  # latents
    scale: float  # of positions
    activation: str
    eps: float
    bias: bool  # of q, k and v
    context: int  # of a caption's token in cross attention
    caption: int | None  # of one before it is projected; None: it is not
    sizes: bool  # whether it is told the image's height, width and their ratio

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        only(cfg, norm_type="ada_norm_single", norm_elementwise_affine=False)
        only(cfg, attention_type="default")
        cfg = cfg.with_defaults(out_channels=8)
        common = common_fields(cfg, channels=4, heads=16, head_dim=72, layers=28)
        check_positions(cfg, common)
        hidden = common["heads"] * common["head_dim"]
        side = cfg.int("sample_size", 1, 1 << 14, default=_LARGE)
        caption = cfg.int("caption_channels", 1, 1 << 16, default=None)
        context = cfg.int("cross_attention_dim", 1, 1 << 16, default=1152)
        if caption is not None and context != hidden:
            cfg.fail("cross_attention_dim", f"{hidden}, as captions are projected to")
        sizes = cfg.bool("use_additional_conditions", default=side == _LARGE)
        if sizes and hidden % 3:
            cfg.fail("attention_head_dim", "such that all heads together are a multiple of 3")
        kind = cfg.str_choice("activation_fn", ACTIVATIONS, default="gelu-approximate")
        return cls(
            **common,
            side=side,
            scale=cfg.number("interpolation_scale", 1e-3, 1e3, default=max(side // 64, 1)),
            activation=ACTIVATIONS[kind],
            eps=cfg.number("norm_eps", 0, 1, default=1e-6),
            bias=cfg.bool("attention_bias", default=True),
            context=context,
            caption=caption,
            sizes=sizes,
        )


class _Layers(Layers):
    def told(self) -> Tensor:
        """Of the timestep and, where the model is told it, the image's size: [N, E]. Inputs time
        [N, 256], sizes [3, 256]: waves of height, width and their ratio."""
        g, name = self.g, "adaln_single.emb"
        x = self.embedded(f"{name}.timestep_embedder", g.input("time", self.count, TIME))
        if not self.cfg.sizes:
            return x
        third = self.cfg.hidden_size // 3
        sizes = g.input("sizes", 3, TIME)
        sides = self.embedded(f"{name}.resolution_embedder", g.rows(sizes, 0, 2), third)
        ratio = self.embedded(f"{name}.aspect_ratio_embedder", g.rows(sizes, 2, 1), third)
        both = g.concat(g.rows(sides, 0, 1), g.rows(sides, 1, 1))
        return g.add(x, g.concat(both, ratio))

    def caption(self, tokens: int) -> Tensor:
        cfg, count = self.cfg, self.count
        text = self.g.input("text", count * tokens, cfg.caption or cfg.context)
        if cfg.caption is None:
            return text
        return self.embedded("caption_projection", text, activation="gelu_tanh")

    def table(self, name: str, c: Tensor, parts: int) -> Tensor:
        """c [N, parts · E], and a table that is the same for all."""
        table = self.w.array(name, parts, self.cfg.hidden_size)
        return self.g.add(c, np.ascontiguousarray(table.reshape(1, -1)))

    def attention(self, name: str, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        cfg, hidden = self.cfg, self.cfg.hidden_size
        q = self.b.linear(f"{name}.to_q", x, hidden, bias=cfg.bias)
        k, v = (self.b.linear(f"{name}.to_{part}", context, hidden, bias=cfg.bias) for part in "kv")
        return self.attend(name, q, k, v, mask)

    def layer(self, i: int, x: Tensor, c: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        hidden, eps = self.cfg.hidden_size, self.cfg.eps
        name = f"transformer_blocks.{i}"
        c = self.table(f"{name}.scale_shift_table", c, 6)
        h = self.modulated(x, c, shift=0, scale=1, eps=eps)
        h = self.attention(f"{name}.attn1", h, h, None)
        x = self.gated(self.b.linear(f"{name}.attn1.to_out.0", h, hidden), c, 2, x)
        h = self.attention(f"{name}.attn2", x, text, mask)  # without a norm before it
        x = self.b.linear(f"{name}.attn2.to_out.0", h, hidden, residual=x)
        h = self.modulated(x, c, shift=3, scale=4, eps=eps)
        return self.gated(self.feed_forward(f"{name}.ff", h, self.cfg.activation), c, 5, x)


def record(
    g: ImageGraph, w: ImageWeights, cfg: Config, count: int, height: int, width: int, tokens: int
) -> None:
    """Inputs sample [N, C, H, W], text [N · T, E'], mask [N, T] (added to scores), time [N, 256]
    and, of some models, sizes [3, 256]; output eps [N, C', H, W]."""
    layers, hidden = _Layers(g, w, cfg, count), cfg.hidden_size
    rows, columns = height // cfg.patch, width // cfg.patch
    told = layers.told()
    c = layers.b.linear("adaln_single.linear", g.activation(told, "silu"), 6 * hidden)
    text, mask = layers.caption(tokens), g.input("mask", count, tokens)
    x = layers.patches(g.image("sample", count, cfg.in_channels, height, width))
    places = positions(hidden, rows, columns, base=cfg.side // cfg.patch, scale=cfg.scale)
    x = g.add(x, places, name="positions")
    for i in range(cfg.layers):
        x = layers.layer(i, x, c, text, mask)
    c = layers.table("scale_shift_table", g.concat(told, told), 2)
    x = layers.modulated(x, c, shift=0, scale=1)
    x = layers.b.linear("proj_out", x, cfg.patch**2 * cfg.out_channels)
    x = replace(x, grid=(count, rows, columns))
    g.output("eps", g.pixel_shuffle(x, cfg.patch, channels_last=True))


class PixArtTransformer2DModel(Network):
    """model(sample, timestep, text[, seen][, size]) → what the model predicts."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "PixArtTransformer2DModel", "Transformer2DModel", **options)
        self.config = Config.from_json(self.fields)

    def __call__(
        self,
        sample: np.ndarray,
        timestep,
        text: np.ndarray,
        seen: np.ndarray | None = None,
        size: tuple[float, float] | None = None,
    ) -> np.ndarray:
        """sample [N, C, H, W], timestep: one for all or [N], text [N, T, E'], seen [N, T]: false
        where a token is padding → [N, C', H, W]. size: height and width in pixels, of models with
        config.sizes. ValueError for a side that patches do not divide."""
        cfg = self.config
        count, _, height, width = sample.shape
        tokens = text.shape[1]
        for name, side in (("height", height), ("width", width)):
            if side % cfg.patch:
                raise ValueError(f"{name} {side}; allowed: a multiple of {cfg.patch}")
        if cfg.sizes != (size is not None):
            raise ValueError(f"this model takes {'a' if cfg.sizes else 'no'} size")
        runner = self._runner(
            (sample.shape, tokens),
            lambda g, w: record(g, w, cfg, count, height, width, tokens),
        )
        more = {}
        if size is not None:
            sizes = np.array([*size, size[0] / size[1]], np.float32)
            more["sizes"] = timestep_embedding(sizes, TIME)
        seen = np.ones((count, tokens), bool) if seen is None else np.asarray(seen, bool)
        return runner.run(
            sample=sample,
            text=np.asarray(text, np.float32).reshape(count * tokens, -1),
            mask=np.where(seen, np.float32(0), _MASKED),
            time=timestep_embedding(per_item(timestep, count), TIME),
            **more,
        )["eps"]
