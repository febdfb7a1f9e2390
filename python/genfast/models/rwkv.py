"""RWKV 4: no attention, a fading mean of all values in every channel.

Peng et al., 2023 (arXiv 2305.13048); upstream: transformers' modeling_rwkv.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models._layers import Layers
from genfast.models._state_space import ENDLESS
from genfast.weights import Weights

LAST_EPS = 1e-5  # of the last norm, whatever the config says


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden: int
    channels: int
    ffn: int
    layers: int
    context: int
    eps: float
    rescale_every: int
    tied: bool

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        hidden = cfg.int("hidden_size", 1, 1 << 17, default=4096)

        def size(name: str, otherwise: int) -> int:
            given = cfg.values.get(name) is not None
            return cfg.int(name, 1, 1 << 20) if given else otherwise

        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22, default=50277),
            hidden=hidden,
            channels=size("attention_hidden_size", hidden),
            ffn=size("intermediate_size", 4 * hidden),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10, default=32),
            context=ENDLESS,
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            rescale_every=cfg.int("rescale_every", -(1 << 10), 1 << 10, default=6),
            tied=cfg.bool("tie_word_embeddings", default=False),
        )

    def eps_at(self, layer: int, eps: float) -> float:
        """Upstream halves the stream after every `rescale_every` layers, and what is added to it
        from there on. Norms do not see it but for their eps, which is as if four times as large."""
        halved = layer // self.rescale_every if self.rescale_every > 0 else 0
        return eps * 4.0**halved


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("rwkv.", "ln_out.weight")
    table = w.embedding("embeddings.weight", cfg.vocab_size, cfg.hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    x = Layers(g, w, cfg.eps).layer_norm(x, "blocks.0.pre_ln", name="embed_norm")
    for i in range(cfg.layers):
        layers, p = Layers(g, w, cfg.eps_at(i, cfg.eps)), f"blocks.{i}."
        with g.scope(f"layers.{i}"):
            h = layers.layer_norm(x, f"{p}ln1", name="time_norm")
            x = time_mix(layers, cfg, h, f"{p}attention.", x)
            h = layers.layer_norm(x, f"{p}ln2", name="channel_norm")
            x = channel_mix(layers, cfg, h, f"{p}feed_forward.", x)
    layers = Layers(g, w, cfg.eps_at(cfg.layers, LAST_EPS))
    x = layers.layer_norm(g.output_rows(x), "ln_out", name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size, head="head")


def mixed(layers: Layers, h: Tensor, p: str, part: str, rows: int, **options) -> Tensor:
    """The projection `part` of rows of h, each mixed with the row before: m · h[t] + (1 - m) ·
    h[t - 1]."""
    m = layers.w.array(f"{p}time_mix_{part}", 1, 1, h.shape[1]).reshape(-1)
    taps = np.stack([1 - m, m]).astype(np.float32)
    shifted = layers.g.causal_conv1d(h, taps, name=f"{part}_shift")
    return layers.linear(shifted, f"{p}{part}", rows=rows, name=part, **options)


def time_mix(layers: Layers, cfg: Config, h: Tensor, p: str, residual: Tensor) -> Tensor:
    """residual + output(sigmoid(receptance) · wkv(key, value))."""
    g, w, channels = layers.g, layers.w, cfg.channels
    k, v = (mixed(layers, h, p, part, channels) for part in ("key", "value"))
    r = mixed(layers, h, p, "receptance", channels, activation="sigmoid")
    decay, first = (w.vector(f"{p}time_{part}", sizes=[channels]) for part in ("decay", "first"))
    y = g.multiply(g.wkv4(k, v, -np.exp(decay), first), r)
    return layers.linear(y, f"{p}output", rows=cfg.hidden, residual=residual, name="time_out")


def channel_mix(layers: Layers, cfg: Config, h: Tensor, p: str, residual: Tensor) -> Tensor:
    """residual + sigmoid(receptance) · value(relu(key)²)."""
    k = mixed(layers, h, p, "key", cfg.ffn, activation="relu2")
    r = mixed(layers, h, p, "receptance", cfg.hidden, activation="sigmoid")
    v = layers.linear(k, f"{p}value", rows=cfg.hidden, name="value")
    return layers.g.multiply(v, r, residual, name="channel_out")
