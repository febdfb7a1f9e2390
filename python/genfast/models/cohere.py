"""Command R: layer norms without bias, attention and MLP in parallel, neighbours rotated.

Cohere, 2024; upstream: transformers' modeling_cohere.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    theta: ClassVar[float] = 500000.0  # of rotations, where the file does not say

    normed: bool = False  # queries and keys, each head with a weight of its own

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            rms_norm_eps=cfg.number("layer_norm_eps", 0, 1, default=1e-5),
            max_position_embeddings=8192,
            rope_theta=cls.theta,
            tie_word_embeddings=True,
        )
        base = llama.Config.from_json(cfg)
        own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
        own |= {
            "mlp_bias": False,
            "logits_scale": cfg.number("logit_scale", 1e-9, 1e6, default=0.0625),
        }
        return cls(**own, normed=cfg.bool("use_qk_norm", default=False))


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return parallel(g, cfg, w, [g.rope_table(cfg.rope)] * cfg.layers)


def parallel(g: Graph, cfg: Config, w: Weights, rotations: Sequence[Tensor | None]) -> Tensor:
    """The whole model, given each layer's rotation."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden = Layers(g, w, cfg.eps), cfg.hidden_size
    sizes = {"heads": cfg.heads, "kv_heads": cfg.kv_heads, "head_dim": cfg.head_dim}
    groups = cfg.heads + cfg.kv_heads
    rows = [n * cfg.head_dim for n in (cfg.heads, cfg.kv_heads, cfg.kv_heads)]
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            normed = layers.layer_norm(x, f"{p}input_layernorm", bias=False, name="norm")
            names = [f"{p}self_attn.{n}_proj" for n in "qkv"]
            h = layers.linear(normed, *names, rows=rows, bias=cfg.qkv_bias, name="qkv")
            if cfg.normed:
                weights = [
                    w.array(f"{p}self_attn.{n}_norm.weight", heads, cfg.head_dim).ravel()
                    for n, heads in (("q", cfg.heads), ("k", cfg.kv_heads))
                ]
                weight = np.concatenate(weights)
                h = g.layer_norm(h, weight, None, cfg.eps, groups=groups, name="head_norm")
            if rotations[i] is not None:
                h = g.rope(h, rotations[i], heads=groups, head_dim=cfg.head_dim, interleaved=True)
            h = g.attention(h, **sizes, window=cfg.windows[i] if cfg.windows else 0)
            out = f"{p}self_attn.o_proj"
            x = layers.linear(
                h, out, rows=hidden, bias=cfg.out_bias, residual=x, name="attention_out"
            )
            x = llama.mlp(layers, cfg, normed, i, residual=x)
    norm = w.vector("norm.weight", sizes=[hidden]) * np.float32(cfg.logits_scale)
    x = g.layer_norm(g.output_rows(x), norm, None, cfg.eps, name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
