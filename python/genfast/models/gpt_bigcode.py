"""GPTBigCode (SantaCoder, StarCoder): GPT-2 with one head of keys and values for all queries.

Li et al., 2023 (arXiv 2305.06161); upstream: transformers' modeling_gpt_bigcode.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, by_head, forward
from genfast.models._layers import ACTIVATIONS

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="transformer.",
    embed="wte",
    layer="h.{}.",
    qkv=["attn.c_attn"],
    out="attn.c_proj",
    up="mlp.c_fc",
    down="mlp.c_proj",
    attention_norm="ln_1",
    mlp_norm="ln_2",
    final_norm="ln_f",
    positions="wpe",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        hidden = cfg.int("n_embd", 1, 1 << 17, alias="hidden_size", default=768)
        heads = cfg.int("n_head", 1, 1 << 12, alias="num_attention_heads", default=12)
        if hidden % heads or hidden // heads > 256:
            cfg.fail("n_embd", f"1 to 256 times n_head = {heads}")
        if cfg.bool("add_cross_attention", default=False):
            cfg.fail("add_cross_attention", "false: there is no encoder here")
        head_dim, shared = hidden // heads, cfg.bool("multi_query", default=True)
        context = cfg.int("n_positions", 1, 1 << 24, alias="max_position_embeddings", default=1024)
        act = cfg.str_choice("activation_function", ACTIVATIONS, default="gelu_pytorch_tanh")
        return Plan(
            names=NAMES,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("n_inner", 1, 1 << 19, default=4 * hidden),
            layers=cfg.int("n_layer", 1, 1 << 10, alias="num_hidden_layers", default=12),
            heads=heads,
            kv_heads=1 if shared else heads,
            head_dim=head_dim,
            context=context,
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            activation=ACTIVATIONS[act],
            tied=cfg.bool("tie_word_embeddings", default=True),
            qkv_order=None if shared else by_head(heads, head_dim, [1, 1, 1]),
            score_scale=None if cfg.bool("scale_attn_weights", default=True) else 1.0,
            position_rows=context,
        )
