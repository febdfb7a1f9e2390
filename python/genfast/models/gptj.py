"""GPT-J: one norm for attention and MLP side by side, neighbours of a head's first part rotated.

Wang and Komatsuzaki, 2021; upstream: transformers' modeling_gptj.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models._layer_norm_models import Names, Plan, forward
from genfast.models._layers import ACTIVATIONS
from genfast.rope import rope_frequencies

__all__ = ["Config", "forward"]

NAMES = Names(
    prefix="transformer.",
    embed="wte",
    layer="h.{}.",
    qkv=["attn.q_proj", "attn.k_proj", "attn.v_proj"],
    out="attn.out_proj",
    up="mlp.fc_in",
    down="mlp.fc_out",
    attention_norm="ln_1",
    mlp_norm=None,
    final_norm="ln_f",
)


class Config(Plan):
    @classmethod
    def from_json(cls, cfg: Fields) -> Plan:
        hidden = cfg.int("n_embd", 1, 1 << 17, alias="hidden_size", default=4096)
        heads = cfg.int("n_head", 1, 1 << 12, alias="num_attention_heads", default=16)
        if hidden % heads or hidden // heads > 256:
            cfg.fail("n_embd", f"1 to 256 times n_head = {heads}")
        rotated = cfg.int("rotary_dim", 2, hidden // heads, default=64)
        act = cfg.str_choice("activation_function", ACTIVATIONS, default="gelu_new")
        context = cfg.int("n_positions", 1, 1 << 24, alias="max_position_embeddings", default=2048)
        return Plan(
            names=NAMES,
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("n_inner", 1, 1 << 19, default=4 * hidden),
            layers=cfg.int("n_layer", 1, 1 << 10, alias="num_hidden_layers", default=28),
            heads=heads,
            kv_heads=heads,
            head_dim=hidden // heads,
            context=context,
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            activation=ACTIVATIONS[act],
            tied=cfg.bool("tie_word_embeddings", default=False),
            rope=rope_frequencies(rotated, 10000.0, None, context),
            interleaved=True,
            parallel=True,
            qkv_bias=False,
            out_bias=False,
            head_bias=True,
        )
