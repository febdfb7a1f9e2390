"""What diffusion transformers have in common: fields, and layers that a timestep modulates.

Peebles and Xie, 2022 (adaLN-zero, arXiv 2212.09748). What modulates comes as one matrix [N, k · E],
whose parts of E columns (shift, scale, gate …) are counted from 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.weights import ImageWeights

EPS = 1e-6
TIME = 256  # sines and cosines of a timestep
ACTIVATIONS = {"gelu-approximate": "gelu_tanh", "gelu": "gelu"}  # by upstream's names


@dataclass(frozen=True)
class TransformerConfig:
    in_channels: int
    out_channels: int
    heads: int
    head_dim: int
    layers: int
    patch: int

    @property
    def hidden_size(self) -> int:
        return self.heads * self.head_dim


def common_fields(
    cfg: Fields, *, channels: int, heads: int, head_dim: int, layers: int, patch: int = 2
) -> dict[str, Any]:
    """The fields of `TransformerConfig`; the numbers: what upstream assumes where one is absent."""
    inputs = cfg.int("in_channels", 1, 1 << 12, default=channels)
    return {
        "in_channels": inputs,
        "out_channels": cfg.int("out_channels", 1, 1 << 12, default=inputs),
        "heads": cfg.int("num_attention_heads", 1, 1 << 10, default=heads),
        "head_dim": cfg.int("attention_head_dim", 1, 1 << 10, default=head_dim),
        "layers": cfg.int("num_layers", 1, 1 << 10, default=layers),
        "patch": cfg.int("patch_size", 1, 64, default=patch),
    }


def only(cfg: Fields, **expected: Any) -> None:
    """LoadError where a field asks for another value than the one there is."""
    for name, value in expected.items():
        if cfg.values.get(name, value) != value:
            cfg.fail(name, json.dumps(value))


def check_positions(cfg: Fields, common: dict[str, Any]) -> None:
    """LoadError where `positions` cannot be had."""
    if common["heads"] * common["head_dim"] % 4:
        cfg.fail("attention_head_dim", "such that all heads together are a multiple of 4")


def positions(
    size: int, rows: int, columns: int, *, base: int | None = None, scale: float = 1
) -> np.ndarray:
    """Sines and cosines of column and row, of size / 4 frequencies each: [rows · columns, size].

    base: how many rows or columns positions count, however many there are (None: as many); scale:
    what positions are divided by.
    """
    frequencies = 10000.0 ** -(np.arange(size // 4) / (size / 4))

    def waves(count: int) -> np.ndarray:
        places = np.arange(count, dtype=np.float32) / np.float32(count / (base or count))
        angles = (places / np.float32(scale))[:, None] * frequencies
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)  # [count, size / 2]

    across, down = np.tile(waves(columns), (rows, 1)), np.repeat(waves(rows), columns, axis=0)
    return np.concatenate([across, down], axis=1).astype(np.float32)


class Layers:
    """Records layers of `count` items."""

    def __init__(self, g: ImageGraph, w: ImageWeights, cfg: TransformerConfig, count: int) -> None:
        self.g, self.w, self.cfg, self.count = g, w, cfg, count
        self.b = Blocks(g, w, 1, EPS)
        self._ones = np.ones(cfg.hidden_size, np.float32)
        self._zeros = np.zeros(cfg.hidden_size, np.float32)

    def embedded(
        self, name: str, x: Tensor, size: int = 0, *, activation: str = "silu", **options
    ) -> Tensor:
        """A timestep's waves, or what goes with them, through two layers of `size` (E) columns."""
        size = size or self.cfg.hidden_size
        x = self.b.linear(f"{name}.linear_1", x, size, activation=activation)
        return self.b.linear(f"{name}.linear_2", x, size, **options)

    def patches(self, x: Tensor) -> Tensor:
        patch = self.cfg.patch
        options = {"stride": patch, "padding": 0}
        return self.b.conv("pos_embed.proj", x, self.cfg.hidden_size, patch, **options)

    def norm(self, x: Tensor, eps: float = EPS) -> Tensor:
        return self.g.layer_norm(x, self._ones, self._zeros, eps)

    def modulated(
        self, x: Tensor, c: Tensor, *, shift: int, scale: int, eps: float = EPS
    ) -> Tensor:
        """norm(x) · (1 + scale) + shift."""
        hidden = self.cfg.hidden_size
        return self.g.modulate(self.norm(x, eps), c, shift=shift * hidden, scale=scale * hidden)

    def gated(self, h: Tensor, c: Tensor, gate: int, x: Tensor) -> Tensor:
        """x + gate · h."""
        scale = gate * self.cfg.hidden_size
        return self.g.modulate(h, c, scale=scale, plus_one=False, residual=x, name="gate")

    def feed_forward(self, name: str, x: Tensor, activation: str = "gelu_tanh") -> Tensor:
        hidden = self.cfg.hidden_size
        x = self.b.linear(f"{name}.net.0.proj", x, 4 * hidden, activation=activation)
        return self.b.linear(f"{name}.net.2", x, hidden)

    def attend(self, name: str, q: Tensor, k: Tensor, v: Tensor, mask=None) -> Tensor:
        """mask [N, keys]: added to scores."""
        return self.g.full_attention(
            q,
            k,
            v,
            heads=self.cfg.heads,
            items=self.count,
            mask=mask,
            bfloat16=self.b.bfloat16,
            name=name,
        )


class JointLayers(Layers):
    """Layers in which patches and a text's tokens attend to each other, with weights of their own
    (MMDiT: Esser et al., 2024, arXiv 2403.03206)."""

    OWN = ("to_q", "to_k", "to_v")
    ADDED = ("add_q_proj", "add_k_proj", "add_v_proj")

    def told(self, pooled_size: int, guidance: bool = False) -> Tensor:
        """silu of what modulates all layers. Inputs pooled [N, P], time [N, 256], guidance
        likewise."""
        g, count, name = self.g, self.count, "time_text_embed"
        x = self.embedded(f"{name}.text_embedder", g.input("pooled", count, pooled_size))
        time = g.input("time", count, TIME)
        x = self.embedded(f"{name}.timestep_embedder", time, residual=x)
        if guidance:
            amount = g.input("guidance", count, TIME)
            x = self.embedded(f"{name}.guidance_embedder", amount, residual=x)
        return g.activation(x, "silu")

    def qkv(
        self, name: str, x: Tensor, parts: tuple[str, ...], norms: str | None = None
    ) -> list[Tensor]:
        """norms: of each head of queries and keys, "norm_{}" or "norm_added_{}"; None: none."""
        cfg = self.cfg
        found = [self.b.linear(f"{name}.{part}", x, cfg.hidden_size) for part in parts]
        for i, part in enumerate("qk" if norms else ""):
            weight = self.w.vector(f"{name}.{norms.format(part)}.weight", sizes=[cfg.head_dim])
            tiled = np.tile(weight, cfg.heads)
            found[i] = self.g.rms_norm(found[i], tiled, EPS, groups=cfg.heads)
        return found

    def mlp(self, name: str, x: Tensor, c: Tensor) -> Tensor:
        """x + gate · ff(norm(x)), modulated by parts 3, 4 and 5."""
        h = self.modulated(x, c, shift=3, scale=4)
        return self.gated(self.feed_forward(name, h), c, 5, x)

    def last(self, x: Tensor, told: Tensor, outputs: int) -> Tensor:
        """What the last layer leaves, of `outputs` columns; here the scale comes first."""
        c = self.b.linear("norm_out.linear", told, 2 * self.cfg.hidden_size)
        return self.b.linear("proj_out", self.modulated(x, c, scale=0, shift=1), outputs)
