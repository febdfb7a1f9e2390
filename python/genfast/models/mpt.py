"""MPT: ALiBi instead of positions, norms and projections without bias, q, k and v perhaps limited.

MosaicML, 2023; upstream: transformers' modeling_mpt.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, forward
from genfast.models._layers import alibi_slopes

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="transformer.",
    embed="wte",
    layer="blocks.{}.",
    qkv=["attn.Wqkv"],
    out="attn.out_proj",
    up="ffn.up_proj",
    down="ffn.down_proj",
    attention_norm="norm_1",
    mlp_norm="norm_2",
    final_norm="norm_f",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        hidden = cfg.int("d_model", 1, 1 << 17, alias="hidden_size", default=2048)
        heads = cfg.int("n_heads", 1, 1 << 12, alias="num_attention_heads", default=16)
        if hidden % heads or hidden // heads > 256:
            cfg.fail("d_model", f"1 to 256 times n_heads = {heads}")
        attention = cfg.object("attn_config", default=Fields({}, cfg.file))
        if not attention.bool("alibi", default=True):
            attention.fail("alibi", "true: transformers' MPT knows no other positions")
        if attention.int("alibi_bias_max", 1, 1 << 10, default=8) != 8:
            attention.fail("alibi_bias_max", "8, which transformers takes whatever stands here")
        if attention.bool("qk_ln", default=False):
            attention.fail("qk_ln", "false, as in every published one")
        if not cfg.bool("no_bias", default=True):
            cfg.fail("no_bias", "true, as in every published one")
        return Plan(
            names=NAMES,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("expansion_ratio", 1, 64, default=4) * hidden,
            layers=cfg.int("n_layers", 1, 1 << 10, alias="num_hidden_layers", default=24),
            heads=heads,
            kv_heads=heads,
            head_dim=hidden // heads,
            context=cfg.int("max_seq_len", 1, 1 << 24, default=2048),
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            activation="gelu",
            tied=cfg.bool("tie_word_embeddings", default=True),
            norm_bias=False,
            qkv_bias=False,
            out_bias=False,
            mlp_bias=False,
            qkv_limit=attention.number("clip_qkv", 1e-6, 1e6, default=None),
            slopes=alibi_slopes(heads),
            score_scale=attention.number("softmax_scale", 1e-6, 1e6, default=None),
        )
