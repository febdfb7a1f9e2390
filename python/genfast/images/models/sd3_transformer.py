"""SD3Transformer2DModel: patches and a text's tokens in one attention, weights of each their own.

Esser et al., 2024 (MMDiT, arXiv 2403.03206). Upstream: diffusers' models/transformers/
transformer_sd3.py, JointTransformerBlock of models/attention.py.
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


@dataclass(frozen=True)
class Config(TransformerConfig):
    text_size: int
    pooled_size: int
    most_side: int  # patches
    qk_norm: bool
    dual: tuple[int, ...]  # layers whose patches also attend to patches alone

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        common = common_fields(cfg, channels=16, heads=18, head_dim=64, layers=18)
        hidden = common["heads"] * common["head_dim"]
        if cfg.int("caption_projection_dim", 1, 1 << 16, default=1152) != hidden:
            cfg.fail("caption_projection_dim", f"{hidden}, as wide as all heads together")
        if cfg.values.get("qk_norm") not in (None, "rms_norm"):
            cfg.fail("qk_norm", 'null or "rms_norm"')
        dual = cfg.values.get("dual_attention_layers") or []
        if dual:
            dual = cfg.ints("dual_attention_layers", 0, common["layers"] - 1)
        return cls(
            **common,
            text_size=cfg.int("joint_attention_dim", 1, 1 << 16, default=4096),
            pooled_size=cfg.int("pooled_projection_dim", 1, 1 << 16, default=2048),
            most_side=cfg.int("pos_embed_max_size", 1, 1 << 12, default=96),
            qk_norm="qk_norm" in cfg,
            dual=tuple(dual),
        )


class _Layers(JointLayers):
    """Of `count` samples, `patches` and `tokens` of each; patches come first."""

    def __init__(self, g, w, cfg: Config, count: int, patches: int, tokens: int) -> None:
        super().__init__(g, w, cfg, count)
        self.patch_count, self.tokens = patches, tokens
        self.own, self.added = ("norm_{}", "norm_added_{}") if cfg.qk_norm else (None, None)

    def layer(self, i: int, x: Tensor, text: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Of the last layer the text's part goes no further, and is not computed."""
        g, b, hidden = self.g, self.b, self.cfg.hidden_size
        name = f"transformer_blocks.{i}"
        last, dual = i == self.cfg.layers - 1, i in self.cfg.dual
        c = b.linear(f"{name}.norm1.linear", told, (9 if dual else 6) * hidden)
        d = b.linear(f"{name}.norm1_context.linear", told, (2 if last else 6) * hidden)
        h = self.modulated(x, c, shift=0, scale=1)
        # What ends a stream puts the scale first.
        t = self.modulated(text, d, shift=int(last), scale=int(not last))
        own = self.qkv(f"{name}.attn", h, self.OWN, self.own)
        added = self.qkv(f"{name}.attn", t, self.ADDED, self.added)
        both = [g.concat_rows(a, e, items=self.count) for a, e in zip(own, added, strict=True)]
        h = self.attend(f"{name}.attn", *both)
        mine = g.rows(h, 0, self.patch_count, items=self.count)
        after = self.gated(b.linear(f"{name}.attn.to_out.0", mine, hidden), c, 2, x)
        if dual:
            again = self.modulated(x, c, shift=6, scale=7)
            qkv = self.qkv(f"{name}.attn2", again, self.OWN, self.own)
            again = self.attend(f"{name}.attn2", *qkv)
            after = self.gated(b.linear(f"{name}.attn2.to_out.0", again, hidden), c, 8, after)
        x = self.mlp(f"{name}.ff", after, c)
        if not last:
            theirs = g.rows(h, self.patch_count, self.tokens, items=self.count)
            text = self.gated(b.linear(f"{name}.attn.to_add_out", theirs, hidden), d, 2, text)
            text = self.mlp(f"{name}.ff_context", text, d)
        return x, text


def record(
    g: ImageGraph, w: ImageWeights, cfg: Config, count: int, height: int, width: int, tokens: int
) -> None:
    """Inputs sample [N, C, H, W], text [N · T, E'], pooled [N, P], time [N, 256]; output velocity
    [N, C', H, W]."""
    rows, columns = height // cfg.patch, width // cfg.patch
    layers = _Layers(g, w, cfg, count, rows * columns, tokens)
    told = layers.told(cfg.pooled_size)
    text = g.input("text", count * tokens, cfg.text_size)
    text = layers.b.linear("context_embedder", text, cfg.hidden_size)
    x = layers.patches(g.image("sample", count, cfg.in_channels, height, width))
    x = g.add(x, _positions(w, cfg, rows, columns), name="positions")
    for i in range(cfg.layers):
        x, text = layers.layer(i, x, text, told)
    x = layers.last(x, told, cfg.patch**2 * cfg.out_channels)
    x = replace(x, grid=(count, rows, columns))
    g.output("velocity", g.pixel_shuffle(x, cfg.patch, channels_last=True))


def _positions(w: ImageWeights, cfg: Config, rows: int, columns: int) -> np.ndarray:
    """The middle of the stored square."""
    side = cfg.most_side
    table = w.array("pos_embed.pos_embed", 1, side * side, cfg.hidden_size)
    table = table.reshape(side, side, cfg.hidden_size)
    top, left = (side - rows) // 2, (side - columns) // 2
    middle = table[top : top + rows, left : left + columns]
    return np.ascontiguousarray(middle).reshape(rows * columns, cfg.hidden_size)


class SD3Transformer2DModel(Network):
    """model(sample, timestep, text, pooled) → the velocity from image to noise."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "SD3Transformer2DModel", **options)
        self.config = Config.from_json(self.fields)

    def __call__(
        self, sample: np.ndarray, timestep, text: np.ndarray, pooled: np.ndarray
    ) -> np.ndarray:
        """sample [N, C, H, W], timestep: one for all or [N], text [N, T, E'], pooled [N, P] →
        [N, C', H, W]. ValueError for a side that patches do not divide, or that has too many."""
        cfg = self.config
        count, _, height, width = sample.shape
        most = cfg.most_side * cfg.patch
        for name, side in (("height", height), ("width", width)):
            if side % cfg.patch or side > most:
                raise ValueError(f"{name} {side}; allowed: a multiple of {cfg.patch} to {most}")
        tokens = text.shape[1]
        runner = self._runner(
            (sample.shape, tokens),
            lambda g, w: record(g, w, cfg, count, height, width, tokens),
        )
        return runner.run(
            sample=sample,
            text=np.asarray(text, np.float32).reshape(count * tokens, -1),
            pooled=pooled,
            time=timestep_embedding(per_item(timestep, count), TIME),
        )["velocity"]
