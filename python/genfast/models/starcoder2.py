"""StarCoder 2: layer norms, grouped heads, a plain MLP, a sliding window.

Lozhkov et al., 2024 (arXiv 2402.19173); upstream: transformers' modeling_starcoder2.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, forward
from genfast.models._layers import ACTIVATIONS, head_sizes, layer_windows
from genfast.rope import rope_from_config, stretched_context

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="model.",
    embed="embed_tokens",
    layer="layers.{}.",
    qkv=["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out="self_attn.o_proj",
    up="mlp.c_fc",
    down="mlp.c_proj",
    attention_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
    final_norm="norm",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        cfg = cfg.with_defaults(num_key_value_heads=2)
        hidden, heads, kv_heads, head_dim = head_sizes(cfg)
        context = cfg.int("max_position_embeddings", 1, 1 << 24, default=4096)
        layers = cfg.int("num_hidden_layers", 1, 1 << 10)
        bias = cfg.bool("use_bias", default=True)
        act = cfg.str_choice("hidden_act", ACTIVATIONS, default="gelu_pytorch_tanh")
        return Plan(
            names=NAMES,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("intermediate_size", 1, 1 << 19),
            layers=layers,
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            context=stretched_context(cfg, context),
            eps=cfg.number("norm_epsilon", 0, 1, default=1e-5),
            activation=ACTIVATIONS[act],
            tied=cfg.bool("tie_word_embeddings", default=True),
            rope=rope_from_config(cfg, head_dim, context),
            qkv_bias=bias,
            out_bias=bias,
            mlp_bias=bias,
            windows=layer_windows(cfg, layers, [True] * layers),
        )
