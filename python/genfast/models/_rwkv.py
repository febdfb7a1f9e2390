"""What RWKV 4, 5 and 6 share: the stream through their blocks, mixes of every row with the row
before, and the channel mix. (RWKV 7 has the mixes.)"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models._layers import Layers
from genfast.models._state_space import ENDLESS
from genfast.weights import Weights

LAST_EPS = 1e-5  # of the last norm, whatever the config says


class Shifted:
    """Normed rows, [T, E], and what leads from each to the row before it."""

    def __init__(self, g: Graph, rows: Tensor) -> None:
        one = np.ones(rows.shape[1], np.float32)
        self.g, self.rows = g, rows
        self.step = g.causal_conv1d(rows, np.stack([one, -one]), name="step")

    def mixed(self, amount: np.ndarray, name: str) -> Tensor:
        """rows[t] + (rows[t - 1] - rows[t]) · amount [E]."""
        return self.g.multiply(self.step, amount, self.rows, name=f"{name}_shift")


def amount_of(w: Weights, p: str, part: str, hidden: int) -> np.ndarray:
    """Of the row before in what `part` projects: RWKV 4 and 5 store that of the row itself."""
    return 1 - w.array(f"{p}time_mix_{part}", 1, 1, hidden).reshape(-1)


def forward(
    g: Graph,
    cfg,
    w: Weights,
    time_mix: Callable[..., Tensor],
    *,
    amount_of: Callable[..., np.ndarray] = amount_of,
    eps_at: Callable[[int, float], float] = lambda layer, eps: eps,
) -> Tensor:
    """Logits of the output rows, [outputs, V]. time_mix(layers, cfg, shifted, prefix, residual);
    eps_at(layer, eps): what a norm's eps comes to there."""
    w.use_prefix("rwkv.", "ln_out.weight")
    table = w.embedding("embeddings.weight", cfg.vocab_size, cfg.hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    x = Layers(g, w, cfg.eps).layer_norm(x, "blocks.0.pre_ln", name="embed_norm")
    for i in range(cfg.layers):
        layers, p = Layers(g, w, eps_at(i, cfg.eps)), f"blocks.{i}."
        with g.scope(f"layers.{i}"):
            h = Shifted(g, layers.layer_norm(x, f"{p}ln1", name="time_norm"))
            x = time_mix(layers, cfg, h, f"{p}attention.", x)
            h = Shifted(g, layers.layer_norm(x, f"{p}ln2", name="channel_norm"))
            x = channel_mix(layers, cfg, h, f"{p}feed_forward.", x, amount_of)
    layers = Layers(g, w, eps_at(cfg.layers, LAST_EPS))
    x = layers.layer_norm(g.output_rows(x), "ln_out", name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size, head="head")


def channel_mix(
    layers: Layers, cfg, h: Shifted, p: str, residual: Tensor, amount_of: Callable[..., np.ndarray]
) -> Tensor:
    """residual + sigmoid(receptance) · value(relu(key)²)."""

    def projected(part: str, rows: int, activation: str) -> Tensor:
        x = h.mixed(amount_of(layers.w, p, part, cfg.hidden), part)
        return layers.linear(x, f"{p}{part}", rows=rows, activation=activation, name=part)

    k = projected("key", cfg.ffn, "relu2")
    r = projected("receptance", cfg.hidden, "sigmoid")
    v = layers.linear(k, f"{p}value", rows=cfg.hidden, name="value")
    return layers.g.multiply(v, r, residual, name="channel_out")


@dataclass(frozen=True)
class MatrixConfig:
    """Of RWKV 5 and 6, whose heads' states are matrices. Upstream's halving of the stream, every
    `rescale_every` layers, is there for float16, which it keeps from overflowing: there is none."""

    vocab_size: int
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    layers: int
    context: int
    eps: float
    head_eps: float
    tied: bool

    @classmethod
    def from_json(cls, cfg: Fields) -> MatrixConfig:
        hidden = cfg.int("hidden_size", 1, 1 << 17, default=768)
        # num_attention_heads is 64 in all configs, and means nothing.
        head_dim = cfg.int("head_size", 1, 256, default=64)
        if hidden % head_dim:
            cfg.fail("head_size", f"a divisor of hidden_size = {hidden}")
        if cfg.int("attention_hidden_size", 1, 1 << 17, default=hidden) != hidden:
            cfg.fail("attention_hidden_size", f"hidden_size = {hidden}, as the heads' norms have")
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22, default=65536),
            hidden=hidden,
            heads=hidden // head_dim,
            head_dim=head_dim,
            ffn=cfg.int(
                "intermediate_size", 1, 1 << 20, default=max(hidden * 7 // 2 // 32, 1) * 32
            ),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10, default=24),
            context=ENDLESS,
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            head_eps=1e-5 * cfg.number("head_size_divisor", 0, 1 << 10, default=8.0) ** 2,
            tied=cfg.bool("tie_word_embeddings", default=False),
        )


def head_vectors(w: Weights, p: str, heads: int, head_dim: int) -> list[np.ndarray]:
    """What `Graph.wkv6` takes: the weights of a token's own key, and of the heads' norms."""
    own = w.array(f"{p}time_faaaa", heads, head_dim).reshape(-1)
    sizes = [heads * head_dim]
    return [own, *(w.vector(f"{p}ln_x.{part}", sizes=sizes) for part in ("weight", "bias"))]
