"""Jamba: Mamba in most layers, attention without positions in some, experts in every second MLP.

Lieber et al., 2024 (arXiv 2403.19887); upstream: transformers' modeling_jamba.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import bamba, llama
from genfast.models._layers import Layers
from genfast.models._state_space import Mamba, check_silu, conv_width, mamba
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(bamba.Config):
    experts: int = 1
    chosen: int = 1
    sparse: frozenset[int] = frozenset()  # the layers with experts

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(num_key_value_heads=8, max_position_embeddings=262144)
        check_silu(cfg)
        base = llama.Config.from_json(cfg)
        experts = cfg.int("num_experts", 1, 256, default=16)
        sparse = every(cfg, "expert_layer", base.layers, 2, 1) if experts > 1 else ()
        return cls(
            **{
                **vars(base),
                "qkv_bias": False,
                "out_bias": False,
                "mlp_bias": False,
                "rotated": (False,) * base.layers,
            },
            mixer=mixer_of(cfg, base),
            attends=frozenset(every(cfg, "attn_layer", base.layers, 8, 4)),
            experts=experts,
            chosen=cfg.int("num_experts_per_tok", 1, experts, default=min(2, experts)),
            sparse=frozenset(sparse),
        )


def every(cfg: Fields, name: str, layers: int, period: int, offset: int) -> range:
    """The layers that `<name>_period` and `<name>_offset` choose."""
    period = cfg.int(f"{name}_period", 1, 1 << 10, default=period)
    return range(cfg.int(f"{name}_offset", 0, period - 1, default=offset), layers, period)


def mixer_of(cfg: Fields, base: llama.Config) -> Mamba:
    auto = cfg.values.get("mamba_dt_rank", "auto") == "auto"
    rank = -(-base.hidden_size // 16) if auto else cfg.int("mamba_dt_rank", 1, 1 << 14)
    return Mamba(
        hidden=base.hidden_size,
        channels=base.hidden_size * cfg.int("mamba_expand", 1, 64, default=2),
        state=cfg.int("mamba_d_state", 1, 1 << 12, default=16),
        rank=rank,
        width=conv_width(cfg, "mamba_d_conv"),
        bias=cfg.bool("mamba_proj_bias", default=False),
        conv_bias=cfg.bool("mamba_conv_bias", default=True),
        eps=base.eps,
        weighted=True,
    )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return bamba.forward(g, cfg, w, mamba, feed_forward)


def feed_forward(layers: Layers, cfg: Config, h: Tensor, i: int, **options) -> Tensor:
    p, ffn = f"layers.{i}.feed_forward.", cfg.intermediate_size
    if i not in cfg.sparse:
        return layers.gated_mlp(h, p, ffn, cfg.activation, **options)
    logits = layers.linear(h, f"{p}router", rows=cfg.experts, quantised=False, name="router")
    routes = layers.g.route(logits, cfg.chosen)
    experts = [layers.expert(f"{p}experts.{e}.", cfg.hidden_size, ffn) for e in range(cfg.experts)]
    return layers.g.moe(h, routes, experts, activation=cfg.activation, **options)
