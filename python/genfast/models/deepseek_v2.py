"""DeepSeek-V2, V2-Lite and V2.5: latent attention, shared and routed experts.

DeepSeek-AI, 2024 (arXiv 2405.04434); upstream: transformers' modeling_deepseek_v2.py. The cache
keeps one row a token for all heads, the latent c and the rotated k; the matrices that would expand
it to keys and values are absorbed: one is applied to queries, the other to what attention gives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.rope import squared_mscale
from genfast.weights import Weights

NORM_EPS = 1e-6  # of the norms inside attention, whatever rms_norm_eps


@dataclass(frozen=True)
class Config(llama.Config):
    """head_dim: of the rotated part of queries and keys."""

    q_rank: int = 0  # 0: queries straight from the hidden state
    latent: int = 0
    plain_dim: int = 0  # of a query's part that is not rotated
    value_dim: int = 0
    interleaved: bool = True
    dense_layers: int = 0  # the first ones; the others have experts
    experts: int = 0
    experts_a_token: int = 0
    expert_size: int = 0
    shared_size: int = 0
    scoring: str = "softmax"
    biased: bool = False  # a bias for the choice of experts alone
    renormalise: bool = False
    routed_scale: float = 1.0
    groups: int = 1
    kept_groups: int = 1

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            n_routed_experts=64,
            n_shared_experts=2,
            moe_intermediate_size=1407,
            first_k_dense_replace=0,
            routed_scaling_factor=1.0,
        )
        method = cfg.str_choice("topk_method", ("greedy", "group_limited_greedy"), default="greedy")
        cfg.str_choice("scoring_func", ("softmax",), default="softmax")
        if cfg.bool("norm_topk_prob", default=False):
            cfg.fail("norm_topk_prob", "false, as in every model published")
        return read(cls, cfg, grouped=method == "group_limited_greedy")


def read(cls: type, cfg: Fields, *, grouped: bool, **own) -> Config:
    """What versions 2 and 3 have in common; `own` fields go before that."""
    heads = cfg.int("num_attention_heads", 1, 1 << 12)
    if cfg.int("num_key_value_heads", 1, heads, default=heads) != heads:
        cfg.fail("num_key_value_heads", f"num_attention_heads = {heads}: all share one latent")
    if cfg.int("moe_layer_freq", 1, 1 << 10, default=1) != 1:
        cfg.fail("moe_layer_freq", "1, as in every model published")
    if cfg.bool("mlp_bias", default=False):
        cfg.fail("mlp_bias", "false, as in every model published")
    rotated = cfg.int("qk_rope_head_dim", 2, 128, default=64)
    base = llama.Config.from_json(Fields({**cfg.values, "head_dim": rotated}, cfg.file))
    plain = cfg.int("qk_nope_head_dim", 1, 1 << 10, default=128)
    experts = cfg.int("n_routed_experts", 1, 1024)
    expert_size = cfg.int("moe_intermediate_size", 1, 1 << 19)
    groups = cfg.int("n_group", 1, experts) if grouped else 1
    if experts % groups:
        cfg.fail("n_group", f"a divisor of n_routed_experts = {experts}")
    kept = cfg.int("topk_group", 1, groups) if grouped else 1
    values = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
    values["score_scale"] = (plain + rotated) ** -0.5 * squared_mscale(cfg)
    return cls(
        **values | own,
        q_rank=cfg.int("q_lora_rank", 1, 1 << 16, default=0),
        latent=cfg.int("kv_lora_rank", 1, 512, default=512),
        plain_dim=plain,
        value_dim=cfg.int("v_head_dim", 1, 1 << 10, default=128),
        dense_layers=cfg.int("first_k_dense_replace", 0, 1 << 10),
        experts=experts,
        experts_a_token=cfg.int("num_experts_per_tok", 1, experts // groups * kept),
        expert_size=expert_size,
        shared_size=cfg.int("n_shared_experts", 1, 64) * expert_size,
        routed_scale=cfg.number("routed_scaling_factor", 0, 1e3),
        groups=groups,
        kept_groups=kept,
    )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return llama.forward(g, cfg, w, feed_forward, attention)


def attention(layers: Layers, cfg: Config, h: Tensor, rotation: Tensor, i: int) -> Tensor:
    g, w, p = layers.g, layers.w, f"layers.{i}.self_attn."
    heads, plain, rotated, latent = cfg.heads, cfg.plain_dim, cfg.head_dim, cfg.latent
    turn = {"head_dim": rotated, "interleaved": cfg.interleaved}

    # Every head's rotated part first, then every head's other part.
    starts = range(0, heads * (plain + rotated), plain + rotated)
    order = [range(s + plain, s + plain + rotated) for s in starts]
    order += [range(s, s + plain) for s in starts]
    x, name = h, "q_proj"
    if cfg.q_rank:
        x = layers.linear(x, f"{p}q_a_proj", rows=cfg.q_rank, bias=cfg.qkv_bias, name="q_a")
        norm = w.vector(f"{p}q_a_layernorm.weight", sizes=[cfg.q_rank])
        x, name = g.rms_norm(x, norm, NORM_EPS, name="q_norm"), "q_b_proj"
    q = layers.linear(x, f"{p}{name}", rows=heads * (plain + rotated), order=order, name="q")
    q = g.rope(q, rotation, heads=heads, **turn, name="q_rope")

    order = [range(latent, latent + rotated), range(latent)]
    a_proj = f"{p}kv_a_proj_with_mqa"
    kv = layers.linear(
        h, a_proj, rows=latent + rotated, bias=cfg.qkv_bias, order=order, name="kv_a"
    )
    norm = w.vector(f"{p}kv_a_layernorm.weight", sizes=[latent])
    kv = g.rms_norm(kv, norm, NORM_EPS, groups=1, first=rotated, name="kv_norm")
    kv = g.rope(kv, rotation, heads=1, **turn, name="k_rope")

    b_proj, rows = f"{p}kv_b_proj.weight", plain + cfg.value_dim
    keys = w.head_matrices(b_proj, heads, rows, range(plain), latent, transposed=True)
    values = w.head_matrices(b_proj, heads, rows, range(plain, rows), latent)
    absorbed = g.head_matmul(q, keys, first=heads * rotated, name="absorbed")
    sizes = {"heads": heads, "latent": latent, "rotated": rotated}
    seen = g.latent_attention(absorbed, q, kv, **sizes, scale=cfg.score_scale)
    return g.head_matmul(seen, values, name="values")


def feed_forward(layers: Layers, cfg: Config, h: Tensor, i: int, residual: Tensor) -> Tensor:
    if i < cfg.dense_layers:
        return llama.mlp(layers, cfg, h, i, residual=residual)
    g, w, p = layers.g, layers.w, f"layers.{i}.mlp."
    residual = layers.gated_mlp(
        h, f"{p}shared_experts.", cfg.shared_size, cfg.activation, residual=residual, name="shared"
    )
    scores = layers.linear(h, f"{p}gate", rows=cfg.experts, quantised=False, name="router")
    bias = None
    if cfg.biased:
        bias = w.vector(f"{p}gate.e_score_correction_bias", sizes=[cfg.experts])
    routes = g.route(
        scores,
        cfg.experts_a_token,
        scoring=cfg.scoring,
        bias=bias,
        renormalise=cfg.renormalise,
        scale=cfg.routed_scale,
        groups=cfg.groups,
        kept_groups=cfg.kept_groups,
    )
    experts = [
        layers.expert(f"{p}experts.{e}.", cfg.hidden_size, cfg.expert_size)
        for e in range(cfg.experts)
    ]
    return g.moe(h, routes, experts, activation=cfg.activation, residual=residual)
