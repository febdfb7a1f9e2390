"""BLOOM: ALiBi instead of positions, a norm after the embedding, q, k and v head by head.

BigScience, 2022 (arXiv 2211.05100); upstream: transformers' modeling_bloom.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, by_head, forward
from genfast.models._layers import alibi_slopes

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
    mlp_norm="post_attention_layernorm",
    final_norm="ln_f",
    embed_norm="word_embeddings_layernorm",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        if cfg.bool("apply_residual_connection_post_layernorm", default=False):
            cfg.fail("apply_residual_connection_post_layernorm", "false, as in every published one")
        hidden = cfg.int("hidden_size", 1, 1 << 17, alias="n_embed", default=64)
        heads = cfg.int("n_head", 1, 1 << 12, alias="num_attention_heads", default=8)
        if hidden % heads or hidden // heads > 256:
            cfg.fail("n_head", f"a divisor of hidden_size = {hidden} that leaves at most 256")
        return Plan(
            names=NAMES,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=4 * hidden,
            layers=cfg.int("n_layer", 1, 1 << 10, alias="num_hidden_layers", default=2),
            heads=heads,
            kv_heads=heads,
            head_dim=hidden // heads,
            context=cfg.int("seq_length", 1, 1 << 24, default=2048),  # as trained; ALiBi goes on
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            activation="gelu_tanh",
            tied=cfg.bool("tie_word_embeddings", default=True),
            qkv_order=by_head(heads, hidden // heads, [1, 1, 1]),
            slopes=alibi_slopes(heads),
        )
