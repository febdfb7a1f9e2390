"""Granite 4: Mamba 2 in most layers, attention in some, experts beside an MLP that all share.

IBM, 2025; upstream: transformers' modeling_granitemoehybrid.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import bamba, granite, llama
from genfast.models._layers import Layers
from genfast.models._state_space import check_silu, mamba2
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(bamba.Config):
    experts: int = 0
    chosen: int = 0
    shared_size: int = 0

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        check_silu(cfg)
        plain = llama.Config.from_json(cfg)
        kind = cfg.str_choice("position_embedding_type", ("rope", "nope"), default="nope")
        experts = cfg.int("num_local_experts", 0, 256, default=8)
        chosen = cfg.int("num_experts_per_tok", 0, max(experts, 1 << 10), default=2)
        if experts and not 1 <= chosen <= experts:
            cfg.fail("num_experts_per_tok", f"1 to num_local_experts = {experts}")
        rotated = (kind == "rope",) * plain.layers
        return cls(
            **{**vars(granite.Config.from_json(cfg)), "mlp_bias": False, "rotated": rotated},
            mixer=bamba.mixer_of(cfg, plain),
            attends=attention_layers(cfg, plain.layers),
            norms=("post_attention_layernorm", "norm"),
            experts=experts,
            chosen=chosen,
            shared_size=cfg.int("shared_intermediate_size", 1, 1 << 19, default=1024),
        )


def attention_layers(cfg: Fields, layers: int) -> frozenset[int]:
    kinds = cfg.values.get("layer_types", cfg.values.get("layers_block_type"))
    if kinds is None:
        return frozenset()
    attend, others = ("attention", "full_attention"), ("mamba", "linear_attention")
    known = attend + others
    if not isinstance(kinds, list) or len(kinds) != layers or any(k not in known for k in kinds):
        cfg.fail("layer_types", f"a list of {layers} of {', '.join(known)}")
    return frozenset(i for i, kind in enumerate(kinds) if kind in attend)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return bamba.forward(g, cfg, w, mamba2, feed_forward)


def feed_forward(layers: Layers, cfg: Config, h: Tensor, i: int, residual: Tensor) -> Tensor:
    g, p, hidden, shared = layers.g, f"layers.{i}.", cfg.hidden_size, cfg.shared_size
    up = layers.linear(
        h,
        f"{p}shared_mlp.input_linear",
        rows=2 * shared,
        gated=True,
        order=[range(shared), range(shared, 2 * shared)],
        activation=cfg.activation,
        name="shared",
    )
    x = layers.linear(
        up, f"{p}shared_mlp.output_linear", rows=hidden, residual=residual, name="mlp_out"
    )
    if not cfg.experts:
        return x
    p += "block_sparse_moe."
    scores = layers.linear(h, f"{p}router.layer", rows=cfg.experts, quantised=False, name="router")
    routes = g.route(scores, cfg.chosen, scoring="softmax_of_chosen")
    sizes = (cfg.experts, hidden, cfg.intermediate_size)
    names = ("input_linear", "output_linear")
    experts = [layers.stacked_expert(p, names, e, *sizes) for e in range(cfg.experts)]
    return g.moe(h, routes, experts, activation=cfg.activation, residual=x)
