"""Qwen 1.5 and 2 MoE: Qwen 2 with routed experts beside one that every token shares.

Yang et al., 2024 (arXiv 2407.10671); upstream: transformers' modeling_qwen2_moe.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama, qwen2
from genfast.models._layers import Layers
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    experts: int = 0
    experts_a_token: int = 0
    expert_size: int = 0
    shared_size: int = 0  # 0: no expert is shared
    renormalise: bool = False
    sparse: tuple[bool, ...] = ()  # a layer: whether it has experts

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            max_position_embeddings=32768,
            num_key_value_heads=16,
            intermediate_size=5632,
            moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632,
            num_experts=60,
            num_experts_per_tok=4,
        )
        bias = cfg.bool("qkv_bias", default=True)
        return read(cls, cfg, qkv_bias=bias, out_bias=False, mlp_bias=False)


def read(cls: type, cfg: Fields, **own) -> Config:
    """A Llama with experts: `own` fields go before Llama's."""
    base = llama.Config.from_json(cfg)
    layers = base.layers
    experts = cfg.int("num_experts", 1, 1024)
    every = cfg.int("decoder_sparse_step", 1, 1 << 10, default=1)
    dense = cfg.ints("mlp_only_layers", 0, 1 << 10, default=())
    values = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
    values["windows"] = qwen2.windows(cfg, layers)
    return cls(
        **values | own,
        experts=experts,
        experts_a_token=cfg.int("num_experts_per_tok", 1, experts),
        expert_size=cfg.int("moe_intermediate_size", 1, 1 << 19),
        shared_size=cfg.int("shared_expert_intermediate_size", 0, 1 << 19, default=0),
        renormalise=cfg.bool("norm_topk_prob", default=False),
        sparse=tuple(i not in dense and (i + 1) % every == 0 for i in range(layers)),
    )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return llama.forward(g, cfg, w, feed_forward)


def feed_forward(layers: Layers, cfg: Config, h: Tensor, i: int, residual: Tensor) -> Tensor:
    if not cfg.sparse[i]:
        return llama.mlp(layers, cfg, h, i, residual=residual)
    g, p, hidden = layers.g, f"layers.{i}.mlp.", cfg.hidden_size
    if cfg.shared_size:
        weight = layers.linear(h, f"{p}shared_expert_gate", rows=1, quantised=False, name="share")
        always = g.route(weight, 1, scoring="sigmoid", name="shared_route")
        shared = layers.expert(f"{p}shared_expert.", hidden, cfg.shared_size)
        residual = g.moe(
            h, always, [shared], activation=cfg.activation, residual=residual, name="shared"
        )
    scores = layers.linear(h, f"{p}gate", rows=cfg.experts, quantised=False, name="router")
    routes = g.route(scores, cfg.experts_a_token, renormalise=cfg.renormalise)
    experts = [
        layers.expert(f"{p}experts.{e}.", hidden, cfg.expert_size) for e in range(cfg.experts)
    ]
    return g.moe(h, routes, experts, activation=cfg.activation, residual=residual)
