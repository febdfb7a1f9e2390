"""GPT-NeoX and Pythia: parallel attention and MLP, partly rotated heads, q, k and v head by head.

Black et al., 2022 (arXiv 2204.06745); upstream: transformers' modeling_gpt_neox.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, by_head, forward
from genfast.models._layers import ACTIVATIONS, head_sizes
from genfast.rope import rope_from_config, stretched_context

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="gpt_neox.",
    embed="embed_in",
    layer="layers.{}.",
    qkv=["attention.query_key_value"],
    out="attention.dense",
    up="mlp.dense_h_to_4h",
    down="mlp.dense_4h_to_h",
    attention_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    final_norm="final_layer_norm",
    head="embed_out",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        hidden, heads, _, head_dim = head_sizes(cfg)
        context = cfg.int("max_position_embeddings", 1, 1 << 24, default=2048)
        rope = cfg.with_defaults(
            rope_theta=cfg.number("rotary_emb_base", 1, 1e12, default=10000.0),
            partial_rotary_factor=cfg.number("rotary_pct", 0, 1, default=0.25),
        )
        bias = cfg.bool("attention_bias", default=True)
        act = cfg.str_choice("hidden_act", ACTIVATIONS, default="gelu")
        return Plan(
            names=NAMES,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("intermediate_size", 1, 1 << 19),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10),
            heads=heads,
            kv_heads=heads,
            head_dim=head_dim,
            context=stretched_context(cfg, context),
            eps=cfg.number("layer_norm_eps", 0, 1, default=1e-5),
            activation=ACTIVATIONS[act],
            tied=cfg.bool("tie_word_embeddings", default=False),
            rope=rope_from_config(rope, head_dim, context),
            parallel=cfg.bool("use_parallel_residual", default=True),
            qkv_bias=bias,
            out_bias=bias,
            qkv_order=by_head(heads, head_dim, [1, 1, 1]),
        )
