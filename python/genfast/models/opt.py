"""OPT: learned positions that begin at row 2, ReLU; the 350M one has its norms last.

Zhang et al., 2022 (arXiv 2205.01068); upstream: transformers' modeling_opt.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, forward
from genfast.models._layers import ACTIVATIONS

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="model.",
    embed="decoder.embed_tokens",
    layer="decoder.layers.{}.",
    qkv=["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out="self_attn.out_proj",
    up="fc1",
    down="fc2",
    attention_norm="self_attn_layer_norm",
    mlp_norm="final_layer_norm",
    final_norm="decoder.final_layer_norm",
    positions="decoder.embed_positions",
    project_in="decoder.project_in",
    project_out="decoder.project_out",
)
OFFSET = 2  # rows before that of position 0


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        hidden = cfg.int("hidden_size", 1, 1 << 17, default=768)
        heads = cfg.int("num_attention_heads", 1, 1 << 12, default=12)
        if hidden % heads or hidden // heads > 256:
            cfg.fail("hidden_size", f"1 to 256 times num_attention_heads = {heads}")
        if not cfg.bool("layer_norm_elementwise_affine", default=True):
            cfg.fail("layer_norm_elementwise_affine", "true")
        first = cfg.bool("do_layer_norm_before", default=True)
        removed = cfg.bool("_remove_final_layer_norm", default=False)
        bias = cfg.bool("enable_bias", default=True)
        context = cfg.int("max_position_embeddings", 1, 1 << 24, default=2048)
        return Plan(
            names=NAMES if first and not removed else replace(NAMES, final_norm=None),
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("ffn_dim", 1, 1 << 19, default=3072),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10, default=12),
            heads=heads,
            kv_heads=heads,
            head_dim=hidden // heads,
            context=context,
            eps=1e-5,
            activation=ACTIVATIONS[
                cfg.str_choice("activation_function", ACTIVATIONS, default="relu")
            ],
            tied=cfg.bool("tie_word_embeddings", default=True),
            norm_last=not first,
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=bias,
            position_offset=OFFSET,
            position_rows=context + OFFSET,
            embed_size=cfg.int("word_embed_proj_dim", 1, 1 << 17, default=hidden),
        )
