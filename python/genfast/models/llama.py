"""Llama 1 to 3.3, CodeLlama, SmolLM and their like.

Touvron et al., 2023 (arXiv 2302.13971); upstream: transformers' modeling_llama.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.rope import RopeFrequencies, rope_from_config, stretched_context
from genfast.weights import Weights

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    eps: float
    activation: str
    tied: bool
    attention_bias: bool
    mlp_bias: bool
    rope: RopeFrequencies

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        hidden = cfg.int("hidden_size", 1, 1 << 17)
        heads = cfg.int("num_attention_heads", 1, 1 << 12)
        kv_heads = cfg.int("num_key_value_heads", 1, heads, default=heads)
        if heads % kv_heads:
            cfg.fail("num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
        head_dim = cfg.int("head_dim", 2, 256, default=None)
        if head_dim is None:
            if hidden % heads or hidden // heads > 256:
                cfg.fail("hidden_size", f"1 to 256 times num_attention_heads = {heads}")
            head_dim = hidden // heads
        if head_dim % 2:
            cfg.fail("head_dim" if "head_dim" in cfg else "hidden_size", "an even head dimension")
        context = cfg.int("max_position_embeddings", 1, 1 << 24, default=2048)
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("intermediate_size", 1, 1 << 19),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            context=stretched_context(cfg, context),
            eps=cfg.number("rms_norm_eps", 0, 1, default=1e-6),
            activation=ACTIVATIONS[cfg.str_choice("hidden_act", ACTIVATIONS, default="silu")],
            tied=cfg.bool("tie_word_embeddings", default=False),
            attention_bias=cfg.bool("attention_bias", default=False),
            mlp_bias=cfg.bool("mlp_bias", default=False),
            rope=rope_from_config(cfg, head_dim, context),
        )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "embed_tokens.weight")
    hidden, ffn = cfg.hidden_size, cfg.intermediate_size
    q, kv = cfg.heads * cfg.head_dim, cfg.kv_heads * cfg.head_dim
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            projections = [f"{p}self_attn.{name}_proj." for name in "qkvo"]
            qkv, o = [f"{name}weight" for name in projections[:3]], f"{projections[3]}weight"
            qkv_bias = o_bias = None
            if cfg.attention_bias:
                qkv_bias = w.vector(*(f"{name}bias" for name in projections[:3]), sizes=[q, kv, kv])
                o_bias = w.vector(f"{projections[3]}bias", sizes=[hidden])
            norm = w.vector(f"{p}input_layernorm.weight", sizes=[hidden])
            h = g.rms_norm(x, norm, cfg.eps, name="attention_norm")
            h = g.matmul(h, w.matrix(*qkv, rows=[q, kv, kv], cols=hidden), qkv_bias, name="qkv")
            h = g.rope(h, rotation, heads=cfg.heads + cfg.kv_heads, head_dim=cfg.head_dim)
            h = g.attention(h, heads=cfg.heads, kv_heads=cfg.kv_heads, head_dim=cfg.head_dim)
            o = w.matrix(o, rows=[hidden], cols=q)
            x = g.matmul(h, o, o_bias, residual=x, name="attention_out")

            gate_up = [f"{p}mlp.{name}_proj." for name in ("gate", "up")]
            up_bias = down_bias = None
            if cfg.mlp_bias:
                up_bias = w.vector(*(f"{name}bias" for name in gate_up), sizes=[ffn, ffn])
                down_bias = w.vector(f"{p}mlp.down_proj.bias", sizes=[hidden])
            norm = w.vector(f"{p}post_attention_layernorm.weight", sizes=[hidden])
            h = g.rms_norm(x, norm, cfg.eps, name="mlp_norm")
            names = [f"{name}weight" for name in gate_up]
            up = w.matrix(*names, rows=[ffn, ffn], cols=hidden, gated=True)
            h = g.matmul(h, up, up_bias, activation=cfg.activation, name="gate_up")
            down = w.matrix(f"{p}mlp.down_proj.weight", rows=[hidden], cols=ffn)
            x = g.matmul(h, down, down_bias, residual=x, name="mlp_out")
    x = g.output_rows(x)
    x = g.rms_norm(x, w.vector("norm.weight", sizes=[hidden]), cfg.eps, name="final_norm")
    if not cfg.tied:
        w.prefix = ""  # lm_head stands beside the model, not inside it
        table = w.matrix("lm_head.weight", rows=[cfg.vocab_size], cols=hidden, gives_logits=True)
    return g.matmul(x, table, name="logits")
