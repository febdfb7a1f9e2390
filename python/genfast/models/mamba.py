"""Mamba: no attention, a selective state space in every layer.

Gu and Dao, 2023 (arXiv 2312.00752); upstream: transformers' modeling_mamba.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models._layers import Layers
from genfast.models._state_space import ENDLESS, Mamba, Mamba2, mamba
from genfast.weights import Weights


@dataclass(frozen=True)
class Config:
    vocab_size: int
    layers: int
    context: int
    eps: float
    tied: bool
    mixer: Mamba | Mamba2

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10),
            context=ENDLESS,
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            tied=cfg.bool("tie_word_embeddings", default=True),
            mixer=Mamba.from_json(cfg),
        )


def forward(g: Graph, cfg: Config, w: Weights, mixer=mamba) -> Tensor:
    """Logits of the output rows, [outputs, V]. mixer: another family's."""
    hidden = cfg.mixer.hidden
    w.use_prefix("backbone.", "norm_f.weight")
    layers = Layers(g, w, cfg.eps)
    table = w.embedding("embeddings.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        with g.scope(f"layers.{i}"):
            h = layers.rms_norm(x, f"layers.{i}.norm", name="norm")
            x = mixer(layers, cfg.mixer, h, f"layers.{i}.mixer.", residual=x)
    x = layers.rms_norm(g.output_rows(x), "norm_f", name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
