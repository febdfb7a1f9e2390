"""DiTTransformer2DModel: a transformer over patches of latents, told a class by adaLN-zero.

Peebles and Xie, 2022 (arXiv 2212.09748). Upstream: diffusers' models/transformers/
dit_transformer_2d.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._network import Network, per_item, timestep_embedding
from genfast.images.models._table import Table
from genfast.images.weights import ImageWeights

_TIME = 256  # sines and cosines of a timestep
_EPS = 1e-6
_ACTIVATIONS = {"gelu-approximate": "gelu_tanh", "gelu": "gelu"}


@dataclass(frozen=True)
class Config:
    in_channels: int
    out_channels: int
    hidden_size: int
    heads: int
    layers: int
    patch: int
    side: int  # latents
    classes: int
    activation: str
    eps: float
    bias: bool  # of q, k and v

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        for name, expected in {
            "norm_type": "ada_norm_zero",
            "norm_elementwise_affine": False,
        }.items():
            if cfg.values.get(name, expected) != expected:
                cfg.fail(name, str(expected))
        heads = cfg.int("num_attention_heads", 1, 1 << 10, default=16)
        patch = cfg.int("patch_size", 1, 64, default=2)
        side = cfg.int("sample_size", 1, 1 << 14, default=32)
        if side % patch:
            cfg.fail("sample_size", f"a multiple of patch_size = {patch}")
        channels = cfg.int("in_channels", 1, 1 << 12, default=4)
        kind = cfg.str_choice("activation_fn", _ACTIVATIONS, default="gelu-approximate")
        hidden = heads * cfg.int("attention_head_dim", 1, 1 << 10, default=72)
        if hidden % 4:
            cfg.fail("attention_head_dim", "such that all heads together are a multiple of 4")
        return cls(
            in_channels=channels,
            out_channels=cfg.int("out_channels", 1, 1 << 12, default=channels),
            hidden_size=hidden,
            heads=heads,
            layers=cfg.int("num_layers", 1, 1 << 10, default=28),
            patch=patch,
            side=side,
            classes=cfg.int("num_embeds_ada_norm", 1, 1 << 22, default=1000),
            activation=_ACTIVATIONS[kind],
            eps=cfg.number("norm_eps", 0, 1, default=1e-5),
            bias=cfg.bool("attention_bias", default=True),
        )


def positions(size: int, side: int) -> np.ndarray:
    """Sines and cosines of column and row, of size / 4 frequencies each: [side², size]."""
    frequencies = 10000.0 ** -(np.arange(size // 4) / (size / 4))
    angles = np.arange(side)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # [side, size / 2]
    columns, rows = np.tile(waves, (side, 1)), np.repeat(waves, side, axis=0)
    return np.concatenate([columns, rows], axis=1).astype(np.float32)


def record(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Inputs sample [N, C, S, S], time [N, 256], and the rows of each layer's table of classes,
    label.0 … [N, E]; output eps [N, C', S, S]."""
    b = Blocks(g, w, 1, cfg.eps)
    hidden = cfg.hidden_size
    ones, zeros = np.ones(hidden, np.float32), np.zeros(hidden, np.float32)
    time = g.input("time", count, _TIME)

    def condition(layer: int) -> Tensor:
        """silu of what a layer makes of timestep and class; of the first all is told at the end."""
        name = f"transformer_blocks.{layer}.norm1.emb.timestep_embedder"
        h = b.linear(f"{name}.linear_1", time, hidden, activation="silu")
        label = g.input(f"label.{layer}", count, hidden)
        h = b.linear(f"{name}.linear_2", h, hidden, residual=label)
        return g.activation(h, "silu")

    x = g.image("sample", count, cfg.in_channels, cfg.side, cfg.side)
    x = b.conv("pos_embed.proj", x, hidden, cfg.patch, stride=cfg.patch, padding=0)
    x = g.add(x, positions(hidden, cfg.side // cfg.patch), name="positions")
    first = None
    for i in range(cfg.layers):
        name = f"transformer_blocks.{i}"
        told = condition(i)
        first = told if first is None else first
        c = b.linear(f"{name}.norm1.linear", told, 6 * hidden)
        h = g.modulate(g.layer_norm(x, ones, zeros, _EPS), c, shift=0, scale=hidden)
        q, k, v = (b.linear(f"{name}.attn1.to_{part}", h, hidden, bias=cfg.bias) for part in "qkv")
        h = g.full_attention(q, k, v, heads=cfg.heads, bfloat16=b.bfloat16, name=name)
        h = b.linear(f"{name}.attn1.to_out.0", h, hidden)
        x = g.modulate(h, c, scale=2 * hidden, plus_one=False, residual=x, name="gate")
        h = g.layer_norm(x, ones, zeros, cfg.eps)
        h = g.modulate(h, c, shift=3 * hidden, scale=4 * hidden)
        h = b.linear(f"{name}.ff.net.0.proj", h, 4 * hidden, activation=cfg.activation)
        h = b.linear(f"{name}.ff.net.2", h, hidden)
        x = g.modulate(h, c, scale=5 * hidden, plus_one=False, residual=x, name="gate")
    c = b.linear("proj_out_1", first, 2 * hidden)
    x = g.modulate(g.layer_norm(x, ones, zeros, _EPS), c, shift=0, scale=hidden)
    x = b.linear("proj_out_2", x, cfg.patch**2 * cfg.out_channels)
    g.output("eps", g.pixel_shuffle(x, cfg.patch, channels_last=True))


class DiTTransformer2DModel(Network):
    """model(sample, timestep, labels) → what the model predicts; label `config.classes` is none."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "DiTTransformer2DModel", **options)
        self.config = cfg = Config.from_json(self.fields)
        self._labels = [
            Table(
                self._weights.checkpoint,
                f"transformer_blocks.{i}.norm1.emb.class_embedder.embedding_table.weight",
                cfg.classes + 1,
                cfg.hidden_size,
            )
            for i in range(cfg.layers)
        ]

    def __call__(self, sample: np.ndarray, timestep, labels) -> np.ndarray:
        """sample [N, C, S, S], timestep: one for all or [N], labels [N] → [N, C', S, S]."""
        count = len(sample)
        runner = self._runner(count, lambda g, w: record(g, w, self.config, count))
        time = timestep_embedding(per_item(timestep, count), _TIME, freq_shift=1)
        told = {f"label.{i}": table(labels) for i, table in enumerate(self._labels)}
        return runner.run(sample=sample, time=time, **told)["eps"]
