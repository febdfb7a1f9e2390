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
from genfast.images.models._network import Network, per_item, timestep_embedding
from genfast.images.models._table import Table
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


@dataclass(frozen=True)
class Config(TransformerConfig):
    side: int  # latents
    classes: int
    activation: str
    eps: float
    bias: bool  # of q, k and v

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        only(cfg, norm_type="ada_norm_zero", norm_elementwise_affine=False)
        common = common_fields(cfg, channels=4, heads=16, head_dim=72, layers=28)
        patch = common["patch"]
        side = cfg.int("sample_size", 1, 1 << 14, default=32)
        if side % patch:
            cfg.fail("sample_size", f"a multiple of patch_size = {patch}")
        kind = cfg.str_choice("activation_fn", ACTIVATIONS, default="gelu-approximate")
        check_positions(cfg, common)
        return cls(
            **common,
            side=side,
            classes=cfg.int("num_embeds_ada_norm", 1, 1 << 22, default=1000),
            activation=ACTIVATIONS[kind],
            eps=cfg.number("norm_eps", 0, 1, default=1e-5),
            bias=cfg.bool("attention_bias", default=True),
        )


def record(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Inputs sample [N, C, S, S], time [N, 256], and the rows of each layer's table of classes,
    label.0 … [N, E]; output eps [N, C', S, S]."""
    layers, hidden, side = Layers(g, w, cfg, count), cfg.hidden_size, cfg.side // cfg.patch
    b = layers.b
    time = g.input("time", count, TIME)

    def condition(layer: int) -> Tensor:
        """silu of what a layer makes of timestep and class; of the first all is told at the end."""
        name = f"transformer_blocks.{layer}.norm1.emb.timestep_embedder"
        label = g.input(f"label.{layer}", count, hidden)
        return g.activation(layers.embedded(name, time, residual=label), "silu")

    x = layers.patches(g.image("sample", count, cfg.in_channels, cfg.side, cfg.side))
    x = g.add(x, positions(hidden, side, side), name="positions")
    first = None
    for i in range(cfg.layers):
        name = f"transformer_blocks.{i}"
        told = condition(i)
        first = told if first is None else first
        c = b.linear(f"{name}.norm1.linear", told, 6 * hidden)
        h = layers.modulated(x, c, shift=0, scale=1)
        q, k, v = (b.linear(f"{name}.attn1.to_{part}", h, hidden, bias=cfg.bias) for part in "qkv")
        h = b.linear(f"{name}.attn1.to_out.0", layers.attend(name, q, k, v), hidden)
        x = layers.gated(h, c, 2, x)
        h = layers.modulated(x, c, shift=3, scale=4, eps=cfg.eps)
        x = layers.gated(layers.feed_forward(f"{name}.ff", h, cfg.activation), c, 5, x)
    c = b.linear("proj_out_1", first, 2 * hidden)
    x = layers.modulated(x, c, shift=0, scale=1)
    x = b.linear("proj_out_2", x, cfg.patch**2 * cfg.out_channels)
    g.output("eps", g.pixel_shuffle(x, cfg.patch, channels_last=True))


class DiTTransformer2DModel(Network):
    """model(sample, timestep, labels) → what the model predicts; label `config.classes` is none."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "DiTTransformer2DModel", "Transformer2DModel", **options)
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
        time = timestep_embedding(per_item(timestep, count), TIME, freq_shift=1)
        told = {f"label.{i}": table(labels) for i, table in enumerate(self._labels)}
        return runner.run(sample=sample, time=time, **told)["eps"]
