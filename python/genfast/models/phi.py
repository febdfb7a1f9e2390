"""Phi 1, 1.5 and 2: one norm for attention and MLP side by side, partly rotated heads, biases.

Li et al., 2023 (arXiv 2309.05463); upstream: transformers' modeling_phi.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, forward
from genfast.models._layers import ACTIVATIONS, head_sizes
from genfast.rope import rope_from_config, stretched_context

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="model.",
    embed="embed_tokens",
    layer="layers.{}.",
    qkv=["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    out="self_attn.dense",
    up="mlp.fc1",
    down="mlp.fc2",
    attention_norm="input_layernorm",
    mlp_norm=None,
    final_norm="final_layernorm",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        if cfg.bool("qk_layernorm", default=False):
            cfg.fail("qk_layernorm", "false: no published Phi norms its queries and keys")
        hidden, heads, kv_heads, head_dim = head_sizes(cfg)
        context = cfg.int("max_position_embeddings", 1, 1 << 24, default=2048)
        act = cfg.str_choice("hidden_act", ACTIVATIONS, default="gelu_new")
        rope = cfg.with_defaults(partial_rotary_factor=0.5)
        return Plan(
            names=NAMES,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("intermediate_size", 1, 1 << 19),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            context=stretched_context(cfg, context),
            eps=cfg.number("layer_norm_eps", 0, 1, default=1e-5),
            activation=ACTIVATIONS[act],
            tied=cfg.bool("tie_word_embeddings", default=False),
            rope=rope_from_config(rope, head_dim, context),
            parallel=True,
            head_bias=True,
        )
