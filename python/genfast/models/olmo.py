"""OLMo: Llama with layer norms that have no weights; q, k and v may be kept within a limit.

Groeneveld et al., 2024 (arXiv 2402.00838); upstream: transformers' modeling_olmo.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    limit: float | None = None

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        base = llama.Config.from_json(cfg)
        own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
        own |= {"mlp_bias": False, "eps": 1e-5}
        return cls(**own, limit=cfg.number("clip_qkv", 1e-6, 1e6, default=None))


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden = Layers(g, w, cfg.eps), cfg.hidden_size
    sizes = {"heads": cfg.heads, "kv_heads": cfg.kv_heads, "head_dim": cfg.head_dim}
    rows = [n * cfg.head_dim for n in (cfg.heads, cfg.kv_heads, cfg.kv_heads)]
    ones = np.ones(hidden, np.float32)
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = g.layer_norm(x, ones, None, cfg.eps, name="attention_norm")
            names = [f"{p}self_attn.{n}_proj" for n in "qkv"]
            h = layers.linear(h, *names, rows=rows, bias=cfg.qkv_bias, name="qkv")
            if cfg.limit:
                h = g.bound(h, cfg.limit, name="qkv_limit")
            h = g.rope(h, rotation, heads=cfg.heads + cfg.kv_heads, head_dim=cfg.head_dim)
            h = g.attention(h, **sizes)
            out = f"{p}self_attn.o_proj"
            x = layers.linear(
                h, out, rows=hidden, bias=cfg.out_bias, residual=x, name="attention_out"
            )
            h = g.layer_norm(x, ones, None, cfg.eps, name="mlp_norm")
            x = llama.mlp(layers, cfg, h, f"{p}mlp.", residual=x)
    x = g.layer_norm(g.output_rows(x), ones, None, cfg.eps, name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
