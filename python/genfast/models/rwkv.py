"""RWKV 4: no attention, a fading mean of all values in every channel.

Peng et al., 2023 (arXiv 2305.13048); upstream: transformers' modeling_rwkv.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import _rwkv
from genfast.models._layers import Layers
from genfast.models._rwkv import Shifted, amount_of
from genfast.models._state_space import ENDLESS
from genfast.weights import Weights


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
    return _rwkv.forward(g, cfg, w, time_mix, eps_at=cfg.eps_at)


def time_mix(layers: Layers, cfg: Config, h: Shifted, p: str, residual: Tensor) -> Tensor:
    """residual + output(sigmoid(receptance) · wkv(key, value))."""
    g, w, channels = layers.g, layers.w, cfg.channels

    def projected(part: str, activation: str = "none") -> Tensor:
        x = h.mixed(amount_of(w, p, part, cfg.hidden), part)
        return layers.linear(x, f"{p}{part}", rows=channels, activation=activation, name=part)

    k, v, r = projected("key"), projected("value"), projected("receptance", "sigmoid")
    decay, first = (w.vector(f"{p}time_{part}", sizes=[channels]) for part in ("decay", "first"))
    y = g.multiply(g.wkv4(k, v, -np.exp(decay), first), r)
    return layers.linear(y, f"{p}output", rows=cfg.hidden, residual=residual, name="time_out")
