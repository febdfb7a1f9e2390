"""GLM 4 (0414): fused gate and up, norms before and after each part, half of each head rotated.

GLM Team, 2024 (arXiv 2406.12793); upstream: transformers' modeling_glm4.py.
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
        cfg = cfg.with_defaults(
            max_position_embeddings=131072,
            num_key_value_heads=2,
            head_dim=128,
            rms_norm_eps=1.5625e-07,
            attention_bias=True,
        )
        cfg = cfg.with_defaults(partial_rotary_factor=0.5)
        return replace(llama.Config.from_json(cfg), out_bias=False, mlp_bias=False)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden, ffn = Layers(g, w, cfg.eps), cfg.hidden_size, cfg.intermediate_size
    sizes = {"heads": cfg.heads, "kv_heads": cfg.kv_heads, "head_dim": cfg.head_dim}
    rows = [n * cfg.head_dim for n in (cfg.heads, cfg.kv_heads, cfg.kv_heads)]
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = layers.rms_norm(x, f"{p}input_layernorm", name="attention_norm")
            names = [f"{p}self_attn.{n}_proj" for n in "qkv"]
            h = layers.linear(h, *names, rows=rows, bias=cfg.qkv_bias, name="qkv")
            h = g.rope(
                h,
                rotation,
                heads=cfg.heads + cfg.kv_heads,
                head_dim=cfg.head_dim,
                interleaved=True,
            )
            h = g.attention(h, **sizes)
            h = layers.linear(h, f"{p}self_attn.o_proj", rows=hidden, name="attention_out")
            norm = f"{p}post_self_attn_layernorm"
            x = layers.rms_norm(h, norm, residual=x, name="attention_post_norm")
            h = layers.rms_norm(x, f"{p}post_attention_layernorm", name="mlp_norm")
            h = layers.gated_mlp(h, f"{p}mlp.", ffn, cfg.activation, fused=True)
            norm = f"{p}post_mlp_layernorm"
            x = layers.rms_norm(h, norm, residual=x, name="mlp_post_norm")
    x = layers.rms_norm(g.output_rows(x), "norm", name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
