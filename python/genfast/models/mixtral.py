"""Mixtral: Mistral with eight experts for each MLP, two of them a token.

Jiang et al., 2024 (arXiv 2401.04088); upstream: transformers' modeling_mixtral.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers, layer_windows
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    experts: int = 0
    experts_a_token: int = 0

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            num_key_value_heads=8,
            max_position_embeddings=4096 * 32,
            rms_norm_eps=1e-5,
            rope_theta=1e6,
        )
        base = llama.Config.from_json(cfg)
        own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
        own |= {
            "qkv_bias": False,
            "out_bias": False,
            "mlp_bias": False,
            "windows": layer_windows(cfg, base.layers, [True] * base.layers),
        }
        experts = cfg.int("num_local_experts", 1, 1024, default=8)
        chosen = cfg.int("num_experts_per_tok", 1, experts, default=2)
        return cls(**own, experts=experts, experts_a_token=chosen)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return llama.forward(g, cfg, w, feed_forward)


def feed_forward(layers: Layers, cfg: Config, h: Tensor, i: int, residual: Tensor) -> Tensor:
    g, p = layers.g, f"layers.{i}.block_sparse_moe."
    scores = layers.linear(h, f"{p}gate", rows=cfg.experts, quantised=False, name="router")
    routes = g.route(scores, cfg.experts_a_token, renormalise=True)
    experts = [
        layers.expert(
            f"{p}experts.{e}.", cfg.hidden_size, cfg.intermediate_size, ("w1", "w3", "w2")
        )
        for e in range(cfg.experts)
    ]
    return g.moe(h, routes, experts, activation=cfg.activation, residual=residual)
