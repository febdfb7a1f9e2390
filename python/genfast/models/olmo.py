"""OLMo: Llama with layer norms that have no weights; q, k and v may be kept within a limit.

Groeneveld et al., 2024 (arXiv 2402.00838); upstream: transformers' modeling_olmo.py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.weights import Weights


class Config(llama.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> llama.Config:
        limit = cfg.number("clip_qkv", 1e-6, 1e6, default=None)
        base = llama.Config.from_json(cfg)
        return replace(base, mlp_bias=False, eps=1e-5, qkv_limit=limit)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden = Layers(g, w, cfg.eps), cfg.hidden_size
    ones = np.ones(hidden, np.float32)
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = g.layer_norm(x, ones, None, cfg.eps, name="attention_norm")
            h = llama.attention(layers, cfg, h, rotation, i)
            out = f"{p}self_attn.o_proj"
            x = layers.linear(
                h, out, rows=hidden, bias=cfg.out_bias, residual=x, name="attention_out"
            )
            h = g.layer_norm(x, ones, None, cfg.eps, name="mlp_norm")
            x = llama.mlp(layers, cfg, h, i, residual=x)
    x = g.layer_norm(g.output_rows(x), ones, None, cfg.eps, name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
