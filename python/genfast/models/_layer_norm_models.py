"""Decoders of GPT's lineage: layer norms and a plain MLP, one part after the other or in parallel.

GPT-NeoX, GPT-J, Phi 1.5, StarCoder 2, Falcon, BLOOM, MPT, OPT and GPTBigCode differ in names, in
how q, k and v are stored, and in what tells positions; a `Plan` says which, `forward` is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from genfast.graph import Graph, Tensor
from genfast.models._layers import Layers
from genfast.rope import RopeFrequencies
from genfast.weights import Weights


@dataclass(frozen=True)
class Names:
    """Of weights, without ".weight"; `{}` stands for the layer."""

    prefix: str
    embed: str
    layer: str
    qkv: Sequence[str]
    out: str
    up: str
    down: str
    attention_norm: str
    mlp_norm: str | None  # None: the attention's norm serves both, side by side
    final_norm: str | None
    head: str = "lm_head"
    embed_norm: str | None = None
    positions: str | None = None
    project_in: str = ""  # where the embedding is narrower than the layers
    project_out: str = ""


@dataclass(frozen=True)
class Plan:
    names: Names
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
    rope: RopeFrequencies | None = None
    interleaved: bool = False  # rotation of neighbours, not of halves
    parallel: bool = False  # attention and MLP both see the layer's input
    norm_last: bool = False  # OPT-350m: norms follow attention and MLP
    norm_bias: bool = True
    qkv_bias: bool = True
    out_bias: bool = True
    mlp_bias: bool = True
    head_bias: bool = False
    qkv_order: Sequence[range] | None = None  # of the rows of one matrix
    qkv_limit: float | None = None  # q, k and v are kept within it
    slopes: np.ndarray | None = field(default=None, repr=False)  # ALiBi's, one a head
    score_scale: float | None = None  # None: head_dim ** -0.5
    windows: tuple[int, ...] = ()
    position_offset: int = 0  # rows of the table of positions before that of position 0
    position_rows: int = 0
    embed_size: int = 0  # where it is not hidden_size: projections lead in and out


def by_head(heads: int, head_dim: int, parts: Sequence[int]) -> list[range]:
    """Rows of a matrix that holds, head by head (or group by group), parts[0] heads of q, parts[1]
    of k and parts[2] of v: first all of q, then all of k, then all of v."""
    size = sum(parts)
    order = []
    for part in range(3):
        before = sum(parts[:part])
        for group in range(heads):
            start = (group * size + before) * head_dim
            order.append(range(start, start + parts[part] * head_dim))
    return order


def forward(g: Graph, cfg: Plan, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    n = cfg.names
    w.use_prefix(n.prefix, f"{n.embed}.weight")
    layers = Layers(g, w, cfg.eps)
    hidden, width = cfg.hidden_size, cfg.embed_size or cfg.hidden_size

    def norm(x: Tensor, name: str, label: str) -> Tensor:
        return layers.layer_norm(x, name, bias=cfg.norm_bias, name=label)

    rotation = g.rope_table(cfg.rope) if cfg.rope else None
    table = w.embedding(f"{n.embed}.weight", cfg.vocab_size, width, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    if width != hidden:
        x = layers.linear(x, n.project_in, rows=hidden, name="project_in")
    if n.positions:
        learned = w.embedding(
            f"{n.positions}.weight",
            cfg.position_rows,
            hidden,
            tied=False,
            first=cfg.position_offset,
        )
        x = g.embed(g.positions, learned, residual=x, name="embed_positions")
    if n.embed_norm:
        x = norm(x, n.embed_norm, "embed_norm")
    for i in range(cfg.layers):
        p = n.layer.format(i)
        with g.scope(f"layers.{i}"):
            h = x if cfg.norm_last else norm(x, p + n.attention_norm, "attention_norm")
            seen = attention(layers, cfg, h, rotation, i, p)
            y = layers.linear(
                seen, p + n.out, rows=hidden, bias=cfg.out_bias, residual=x, name="attention_out"
            )
            if cfg.norm_last:
                y = norm(y, p + n.attention_norm, "attention_norm")
                h = y
            elif not cfg.parallel:
                h = norm(y, p + n.mlp_norm, "mlp_norm")
            elif n.mlp_norm:
                h = norm(x, p + n.mlp_norm, "mlp_norm")
            h = layers.linear(
                h,
                p + n.up,
                rows=cfg.intermediate_size,
                bias=cfg.mlp_bias,
                activation=cfg.activation,
                name="mlp_up",
            )
            x = layers.linear(
                h, p + n.down, rows=hidden, bias=cfg.mlp_bias, residual=y, name="mlp_out"
            )
            if cfg.norm_last:
                x = norm(x, p + n.mlp_norm, "mlp_norm")
    x = g.output_rows(x)
    if n.final_norm:
        x = norm(x, n.final_norm, "final_norm")
    if width != hidden:
        x = layers.linear(x, n.project_out, rows=width, name="project_out")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size, n.head, bias=cfg.head_bias)


def attention(
    layers: Layers, cfg: Plan, h: Tensor, rotation: Tensor | None, i: int, prefix: str
) -> Tensor:
    g, heads, kv_heads = layers.g, cfg.heads, cfg.kv_heads
    rows = [heads * cfg.head_dim, kv_heads * cfg.head_dim, kv_heads * cfg.head_dim]
    names = [prefix + name for name in cfg.names.qkv]
    if len(names) == 1:
        rows = [sum(rows)]
    h = layers.linear(h, *names, rows=rows, bias=cfg.qkv_bias, order=cfg.qkv_order, name="qkv")
    if cfg.qkv_limit:
        h = g.bound(h, cfg.qkv_limit, name="qkv_limit")
    if rotation is not None:
        h = g.rope(
            h,
            rotation,
            heads=heads + kv_heads,
            head_dim=cfg.head_dim,
            interleaved=cfg.interleaved,
        )
    return g.attention(
        h,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=cfg.head_dim,
        scale=cfg.score_scale,
        window=cfg.windows[i] if cfg.windows else 0,
        slopes=cfg.slopes,
    )
