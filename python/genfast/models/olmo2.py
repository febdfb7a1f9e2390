"""OLMo 2: norms after attention and MLP instead of before, and over all of q and of k.

OLMo Team, 2025 (arXiv 2501.00656); upstream: transformers' modeling_olmo2.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.weights import Weights


class Config(llama.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> llama.Config:
        return replace(llama.Config.from_json(cfg.with_defaults(rms_norm_eps=1e-5)), mlp_bias=False)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden = Layers(g, w, cfg.eps), cfg.hidden_size
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = attention(layers, cfg, x, rotation, i)
            out = f"{p}self_attn.o_proj"
            h = layers.linear(h, out, rows=hidden, bias=cfg.out_bias, name="attention_out")
            norm = f"{p}post_attention_layernorm"
            x = layers.rms_norm(h, norm, residual=x, name="attention_post_norm")
            h = layers.gated_mlp(x, f"{p}mlp.", cfg.intermediate_size, cfg.activation)
            norm = f"{p}post_feedforward_layernorm"
            x = layers.rms_norm(h, norm, residual=x, name="mlp_post_norm")
    x = layers.rms_norm(g.output_rows(x), "norm", name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)


def attention(layers: Layers, cfg: llama.Config, h: Tensor, rotation: Tensor, i: int) -> Tensor:
    """What the heads of layer i see; q and k are normed whole."""
    g, w, p = layers.g, layers.w, f"layers.{i}.self_attn."
    q, kv = cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim
    names = [f"{p}{name}_proj" for name in "qkv"]
    h = layers.linear(h, *names, rows=[q, kv, kv], bias=cfg.qkv_bias, name="qkv")
    weight = w.vector(f"{p}q_norm.weight", sizes=[q])
    h = g.rms_norm(h, weight, cfg.eps, groups=1, name="q_norm")
    weight = w.vector(f"{p}k_norm.weight", sizes=[kv])
    h = g.rms_norm(h, weight, cfg.eps, groups=1, first=q, name="k_norm")
    if cfg.qkv_limit:
        h = g.bound(h, cfg.qkv_limit, name="qkv_limit")
    h = g.rope(h, rotation, heads=cfg.heads + cfg.kv_heads, head_dim=cfg.head_dim)
    return g.attention(h, heads=cfg.heads, kv_heads=cfg.kv_heads, head_dim=cfg.head_dim)
