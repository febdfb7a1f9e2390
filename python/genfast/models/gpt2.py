"""GPT-2: layer norm, learned positions, biases, weights stored transposed (Conv1D).

Radford et al., 2019; upstream: transformers' modeling_gpt2.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models._layers import ACTIVATIONS
from genfast.weights import PackedWeight, Weights


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    context: int
    eps: float
    activation: str
    tied: bool
    scale: bool
    scale_by_layer: bool

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        hidden = cfg.int("n_embd", 1, 1 << 17, alias="hidden_size", default=768)
        heads = cfg.int("n_head", 1, 1 << 12, alias="num_attention_heads", default=12)
        if hidden % heads or hidden // heads > 256:
            cfg.fail("n_embd", f"1 to 256 times n_head = {heads}")
        if cfg.bool("add_cross_attention", default=False):
            cfg.fail("add_cross_attention", "false: there is no encoder here")
        activation = cfg.str_choice("activation_function", ACTIVATIONS, default="gelu_new")
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden_size=hidden,
            intermediate_size=cfg.int("n_inner", 1, 1 << 19, default=4 * hidden),
            layers=cfg.int("n_layer", 1, 1 << 10, alias="num_hidden_layers", default=12),
            heads=heads,
            context=cfg.int(
                "n_positions", 1, 1 << 24, alias=("n_ctx", "max_position_embeddings"), default=1024
            ),
            eps=cfg.number("layer_norm_epsilon", 0, 1, default=1e-5),
            activation=ACTIVATIONS[activation],
            tied=cfg.bool("tie_word_embeddings", default=True),
            scale=cfg.bool("scale_attn_weights", default=True),
            scale_by_layer=cfg.bool("scale_attn_by_inverse_layer_idx", default=False),
        )


def layer_norm(g: Graph, cfg: Config, w: Weights, x: Tensor, prefix: str, name: str) -> Tensor:
    weight, bias = (
        w.vector(f"{prefix}.{part}", sizes=[cfg.hidden_size]) for part in ("weight", "bias")
    )
    return g.layer_norm(x, weight, bias, cfg.eps, name=name)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    x, table = layers(g, cfg, w, layer_norm)
    if not cfg.tied:
        w.prefix = ""  # lm_head stands beside the model, not inside it
        table = w.matrix(
            "lm_head.weight", rows=[cfg.vocab_size], cols=cfg.hidden_size, gives_logits=True
        )
    return g.matmul(x, table, name="logits")


def layers(
    g: Graph, cfg: Config, w: Weights, norm: Callable[..., Tensor]
) -> tuple[Tensor, PackedWeight]:
    """The normed states of the output rows [outputs, E], and the embedding table."""
    w.use_prefix("transformer.", "wte.weight")
    hidden, ffn, head_dim = cfg.hidden_size, cfg.intermediate_size, cfg.hidden_size // cfg.heads

    def linear(x: Tensor, prefix: str, rows: int, cols: int, **kwargs) -> Tensor:
        weight = w.matrix(f"{prefix}.weight", rows=[rows], cols=cols, transposed=True)
        return g.matmul(x, weight, w.vector(f"{prefix}.bias", sizes=[rows]), **kwargs)

    table = w.embedding("wte.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    positions = w.embedding("wpe.weight", cfg.context, hidden, tied=False)
    x = g.embed(g.positions, positions, residual=x, name="embed_positions")
    for i in range(cfg.layers):
        p = f"h.{i}."
        scale = head_dim**-0.5 if cfg.scale else 1.0
        if cfg.scale_by_layer:
            scale /= i + 1
        with g.scope(f"layers.{i}"):
            h = norm(g, cfg, w, x, f"{p}ln_1", "attention_norm")
            h = linear(h, f"{p}attn.c_attn", 3 * hidden, hidden, name="qkv")
            h = g.attention(h, heads=cfg.heads, kv_heads=cfg.heads, head_dim=head_dim, scale=scale)
            x = linear(h, f"{p}attn.c_proj", hidden, hidden, residual=x, name="attention_out")
            h = norm(g, cfg, w, x, f"{p}ln_2", "mlp_norm")
            h = linear(h, f"{p}mlp.c_fc", ffn, hidden, activation=cfg.activation, name="mlp_up")
            x = linear(h, f"{p}mlp.c_proj", hidden, ffn, residual=x, name="mlp_out")
    return norm(g, cfg, w, g.output_rows(x), "ln_f", "final_norm"), table
