"""Gemma: norms whose stored weight is 1 less, a scaled embedding, GELU gates.

Gemma Team, 2024 (arXiv 2403.08295); upstream: transformers' modeling_gemma.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import ACTIVATIONS, Layers
from genfast.weights import Weights


class Config(llama.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> llama.Config:
        cfg = cfg.with_defaults(
            max_position_embeddings=8192, head_dim=256, tie_word_embeddings=True
        )
        base = llama.Config.from_json(cfg)
        # transformers reads hidden_act; the first uploads had it wrong and hidden_activation right.
        act = cfg.str_choice(
            "hidden_activation", ACTIVATIONS, default="gelu_pytorch_tanh", alias="hidden_act"
        )
        return replace(
            base,
            activation="gelu_tanh" if act == "gelu" else ACTIVATIONS[act],
            mlp_bias=False,
            embed_scale=base.hidden_size**0.5,
        )


def forward(g: Graph, cfg: llama.Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden = Layers(g, w, cfg.eps), cfg.hidden_size
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table, scale=cfg.embed_scale)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = layers.rms_norm(x, f"{p}input_layernorm", plus=1, name="attention_norm")
            h = llama.attention(layers, cfg, h, rotation, i)
            out = f"{p}self_attn.o_proj"
            x = layers.linear(
                h, out, rows=hidden, bias=cfg.out_bias, residual=x, name="attention_out"
            )
            h = layers.rms_norm(x, f"{p}post_attention_layernorm", plus=1, name="mlp_norm")
            x = llama.mlp(layers, cfg, h, i, residual=x)
    x = layers.rms_norm(g.output_rows(x), "norm", plus=1, name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
