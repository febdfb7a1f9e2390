"""T5's encoder: no positions but a bias of scores by distance, root mean square norms, no biases.

Raffel et al., 2019 (arXiv 1910.10683). Upstream: transformers' modeling_t5.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._network import Network
from genfast.images.models._table import Table
from genfast.images.weights import ImageWeights

_MASKED = np.float32(-1e30)
_FEED_FORWARD = {
    "relu": ("relu", False),
    "gelu": ("gelu", False),
    "gated-gelu": ("gelu_tanh", True),
    "gated-silu": ("silu", True),
}


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden_size: int
    head_dim: int
    heads: int
    intermediate_size: int
    layers: int
    buckets: int
    distance: int
    eps: float
    activation: str
    gated: bool

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        kind = cfg.str_choice("feed_forward_proj", _FEED_FORWARD, default="relu")
        buckets = cfg.int("relative_attention_num_buckets", 4, 1 << 16, default=32)
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22, default=32128),
            hidden_size=cfg.int("d_model", 1, 1 << 16, default=512),
            head_dim=cfg.int("d_kv", 1, 1 << 10, default=64),
            heads=cfg.int("num_heads", 1, 1 << 12, default=8),
            intermediate_size=cfg.int("d_ff", 1, 1 << 18, default=2048),
            layers=cfg.int("num_layers", 1, 1 << 10, default=6),
            buckets=buckets,
            distance=cfg.int("relative_attention_max_distance", buckets, 1 << 20, default=128),
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-6),
            activation=_FEED_FORWARD[kind][0],
            gated=_FEED_FORWARD[kind][1],
        )


def distance_buckets(length: int, buckets: int, most: int) -> np.ndarray:
    """Which bias a key at [query, key] gets, [T, T]: each near distance its own, far ones shared
    in steps that grow by a factor; those ahead apart from those behind."""
    distance = np.arange(length)[None, :] - np.arange(length)[:, None]
    half = buckets // 2
    exact = half // 2
    far = np.maximum(np.abs(distance), 1).astype(np.float32)
    steps = np.log(far / np.float32(exact)) / np.float32(np.log(most / exact)) * (half - exact)
    shared = np.minimum(exact + steps.astype(np.int64), half - 1)
    near = np.where(np.abs(distance) < exact, np.abs(distance), shared)
    return near + np.where(distance > 0, half, 0)


def record(g: ImageGraph, w: ImageWeights, cfg: Config, count: int, length: int) -> None:
    """Inputs embeddings [N · T, E] and mask [N, T] (0, or -1e30 where a token is padding); output
    states, as embeddings."""
    b = Blocks(g, w, 1, cfg.eps)
    table = w.array(
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        cfg.buckets,
        cfg.heads,
    )
    bias = table[distance_buckets(length, cfg.buckets, cfg.distance)]  # [T, T, H]
    bias = np.ascontiguousarray(bias.transpose(2, 0, 1)).reshape(cfg.heads * length, length)
    mask = g.input("mask", count, length)
    x = g.input("embeddings", count * length, cfg.hidden_size)

    def norm(name: str, x: Tensor) -> Tensor:
        return g.rms_norm(x, w.vector(f"{name}.weight", sizes=[cfg.hidden_size]), cfg.eps)

    for i in range(cfg.layers):
        name = f"encoder.block.{i}.layer"
        h = norm(f"{name}.0.layer_norm", x)
        width = cfg.heads * cfg.head_dim
        q, k, v = (
            b.linear(f"{name}.0.SelfAttention.{part}", h, width, bias=False) for part in "qkv"
        )
        h = g.full_attention(
            q,
            k,
            v,
            heads=cfg.heads,
            items=count,
            scale=1.0,
            bias=bias,
            mask=mask,
            bfloat16=b.bfloat16,
            name=name,
        )
        x = b.linear(f"{name}.0.SelfAttention.o", h, cfg.hidden_size, bias=False, residual=x)
        h = norm(f"{name}.1.layer_norm", x)
        x = _feed_forward(b, cfg, f"{name}.1.DenseReluDense", h, x)
    g.output("states", norm("encoder.final_layer_norm", x))


def _feed_forward(b: Blocks, cfg: Config, name: str, h: Tensor, x: Tensor) -> Tensor:
    if cfg.gated:
        names = (f"{name}.wi_0.weight", f"{name}.wi_1.weight")
        rows = [cfg.intermediate_size] * 2
        weight = b.w.matrix(*names, rows=rows, cols=cfg.hidden_size, gated=True)
        h = b.g.matmul(h, weight, activation=cfg.activation, name=f"{name}.wi")
    else:
        h = b.linear(f"{name}.wi", h, cfg.intermediate_size, bias=False, activation=cfg.activation)
    return b.linear(f"{name}.wo", h, cfg.hidden_size, bias=False, residual=x)


class T5EncoderModel(Network):
    """model(ids, mask) → states [N, T, E]."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "T5EncoderModel", **options)
        self.config = cfg = Config.from_json(self.fields)
        checkpoint = self._weights.checkpoint
        name = "shared.weight" if "shared.weight" in checkpoint else "encoder.embed_tokens.weight"
        self._tokens = Table(checkpoint, name, cfg.vocab_size, cfg.hidden_size)

    def __call__(self, ids: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """ids [N, T]; mask [N, T], false where a token is padding and nothing attends to it."""
        ids = np.asarray(ids)
        count, length = ids.shape
        cfg = self.config
        runner = self._runner((count, length), lambda g, w: record(g, w, cfg, count, length))
        seen = np.ones(ids.shape, bool) if mask is None else np.asarray(mask, bool)
        found = runner.run(
            embeddings=self._tokens(ids).reshape(-1, cfg.hidden_size),
            mask=np.where(seen, np.float32(0), _MASKED),
        )
        return found["states"].reshape(count, length, cfg.hidden_size)
