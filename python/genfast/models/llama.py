"""Llama 1 to 3.3, CodeLlama, SmolLM and their like.

Touvron et al., 2023 (arXiv 2302.13971); upstream: transformers' modeling_llama.py. Families that
differ from it in a few numbers say so in a file of their own, with this `forward`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models._layers import ACTIVATIONS, Layers, head_sizes
from genfast.rope import RopeFrequencies, rope_from_config, stretched_context
from genfast.weights import PackedWeight, Weights

# A part of layer i: `mlp` or `attention`, or what another family has there.
Part = Callable[..., Tensor]


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    eps: float
    activation: str
    tied: bool
    rope: RopeFrequencies
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    fused: bool = False  # one matrix for q, k and v, one for gate and up
    head_norms: bool = False  # q and k are normed, head by head
    windows: tuple[int, ...] = ()  # a layer: how far it looks back; 0, or none at all: everywhere
    rotated: tuple[bool, ...] = ()  # a layer: whether q and k are rotated; none at all: yes
    embed_scale: float = 1.0
    score_scale: float | None = None  # None: head_dim ** -0.5
    score_cap: float | None = None  # scores are softly kept below it
    logits_scale: float = 1.0
    qkv_limit: float | None = None  # q, k and v are kept within it
    suppressed: tuple[int, ...] = ()  # ids that come only where a request allows them

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        hidden, heads, kv_heads, head_dim = head_sizes(cfg)
        context = cfg.int("max_position_embeddings", 1, 1 << 24, default=2048)
        bias = cfg.bool("attention_bias", default=False)
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("intermediate_size", 1, 1 << 19),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            context=stretched_context(cfg, context),
            eps=cfg.number("rms_norm_eps", 0, 1, default=1e-6),
            activation=ACTIVATIONS[cfg.str_choice("hidden_act", ACTIVATIONS, default="silu")],
            tied=cfg.bool("tie_word_embeddings", default=False),
            rope=rope_from_config(cfg, head_dim, context),
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=cfg.bool("mlp_bias", default=False),
        )


def forward(
    g: Graph,
    cfg: Config,
    w: Weights,
    feed_forward: Part | None = None,
    attend: Part | None = None,
) -> Tensor:
    """Logits of the output rows, [outputs, V]. feed_forward, attend: instead of `mlp` and
    `attention`."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers = Layers(g, w, cfg.eps)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, cfg.hidden_size, tied=cfg.tied)
    x = body(layers, cfg, table, feed_forward, attend)
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)


def body(
    layers: Layers,
    cfg: Config,
    table: PackedWeight,
    feed_forward: Part | None = None,
    attend: Part | None = None,
) -> Tensor:
    """What the heads are given: the output rows after the last norm, [outputs, E]."""
    g, w = layers.g, layers.w
    rotation = g.rope_table(cfg.rope)
    x = g.embed(g.token_ids, table, scale=cfg.embed_scale)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = layers.rms_norm(x, f"{p}input_layernorm", name="attention_norm")
            h = (attend or attention)(layers, cfg, h, rotation, i)
            out = f"{p}self_attn.o_proj"
            x = layers.linear(
                h, out, rows=cfg.hidden_size, bias=cfg.out_bias, residual=x, name="attention_out"
            )
            h = layers.rms_norm(x, f"{p}post_attention_layernorm", name="mlp_norm")
            x = (feed_forward or mlp)(layers, cfg, h, i, residual=x)
    x = g.output_rows(x)
    norm = w.vector("norm.weight", sizes=[cfg.hidden_size]) * np.float32(cfg.logits_scale)
    return g.rms_norm(x, norm, cfg.eps, name="final_norm")


def attention(
    layers: Layers, cfg: Config, h: Tensor, rotation: Tensor, i: int, plus: float = 0.0, **options
) -> Tensor:
    """What the heads of layer i see, before the output projection. plus: see `Layers.rms_norm`;
    options: those of `Graph.attention`."""
    g, p = layers.g, f"layers.{i}.self_attn."
    sizes = {"heads": cfg.heads, "kv_heads": cfg.kv_heads, "head_dim": cfg.head_dim}
    names, rows = [f"{p}{name}_proj" for name in "qkv"], [cfg.heads, cfg.kv_heads, cfg.kv_heads]
    if cfg.fused:
        names, rows = [f"{p}qkv_proj"], [sum(rows)]
    rows = [n * cfg.head_dim for n in rows]
    h = layers.linear(h, *names, rows=rows, bias=cfg.qkv_bias, name="qkv")
    if cfg.head_norms:
        weight = layers.head_weights(p, **sizes, plus=plus)
        h = g.rms_norm(h, weight, cfg.eps, groups=cfg.heads + cfg.kv_heads, name="head_norm")
    if cfg.qkv_limit:
        h = g.bound(h, cfg.qkv_limit, name="qkv_limit")
    if not cfg.rotated or cfg.rotated[i]:
        h = g.rope(h, rotation, heads=cfg.heads + cfg.kv_heads, head_dim=cfg.head_dim)
    window = cfg.windows[i] if cfg.windows else 0
    return g.attention(
        h, **sizes, scale=cfg.score_scale, window=window, cap=cfg.score_cap, **options
    )


def mlp(layers: Layers, cfg: Config, h: Tensor, i: int, **options) -> Tensor:
    return layers.gated_mlp(
        h,
        f"layers.{i}.mlp.",
        cfg.intermediate_size,
        cfg.activation,
        bias=cfg.mlp_bias,
        fused=cfg.fused,
        **options,
    )
