"""Falcon: 7B with one head of keys and values, 40B with groups of them, and the ALiBi ones (RW).

Almazrouei et al., 2023 (arXiv 2311.16867); upstream: transformers' modeling_falcon.py, which rounds
ALiBi's biases to bfloat16, as here they are not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, by_head, forward
from genfast.models._layers import ACTIVATIONS, alibi_slopes
from genfast.rope import rope_from_config, stretched_context

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="transformer.",
    embed="word_embeddings",
    layer="h.{}.",
    qkv=["self_attention.query_key_value"],
    out="self_attention.dense",
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    attention_norm="input_layernorm",
    mlp_norm=None,
    final_norm="ln_f",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        hidden = cfg.int("hidden_size", 1, 1 << 17, default=4544)
        heads = cfg.int("num_attention_heads", 1, 1 << 12, alias="n_head", default=71)
        if hidden % heads or hidden // heads > 256:
            cfg.fail("hidden_size", f"1 to 256 times num_attention_heads = {heads}")
        head_dim = hidden // heads
        grouped = cfg.bool("new_decoder_architecture", default=False)
        parallel = grouped or cfg.bool("parallel_attn", default=True)
        shared = cfg.bool("multi_query", default=True) and not grouped
        kv_heads = 1 if shared else heads
        if grouped:
            kv_heads = cfg.int("num_kv_heads", 1, heads, alias="n_head_kv", default=heads)
            if heads % kv_heads:
                cfg.fail("num_kv_heads", f"a divisor of num_attention_heads = {heads}")
        norms = cfg.int("num_ln_in_parallel_attn", 1, 2, default=2 if grouped else 1)
        names = NAMES
        if grouped and norms == 2:
            names = replace(names, attention_norm="ln_attn", mlp_norm="ln_mlp")
        elif not parallel:
            names = replace(names, mlp_norm="post_attention_layernorm")
        context = cfg.int("max_position_embeddings", 1, 1 << 24, default=2048)
        alibi, bias = cfg.bool("alibi", default=False), cfg.bool("bias", default=False)
        act = cfg.str_choice("activation", ACTIVATIONS, default="gelu")
        return Plan(
            names=names,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("ffn_hidden_size", 1, 1 << 19, default=4 * hidden),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10, alias="n_layer", default=32),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            context=context if alibi else stretched_context(cfg, context),
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            activation=ACTIVATIONS[act],
            tied=cfg.bool("tie_word_embeddings", default=True),
            rope=None if alibi else rope_from_config(cfg, head_dim, context),
            parallel=parallel,
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=bias,
            qkv_order=None if shared else by_head(kv_heads, head_dim, [heads // kv_heads, 1, 1]),
            # The bias is added before the scores are scaled.
            slopes=alibi_slopes(heads) * np.float32(head_dim**-0.5) if alibi else None,
        )
