"""Gemma 2: norms before and after each part, every second layer sliding, scores and logits capped.

Gemma Team, 2024 (arXiv 2408.00118); upstream: transformers' modeling_gemma2.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import gemma, llama
from genfast.models._layers import Layers, layer_windows
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    logits_cap: float | None = None

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            num_key_value_heads=4,
            final_logit_softcapping=30.0,
            attn_logit_softcapping=50.0,
        )
        return read(cls, cfg, sliding_of=2)


def read(cls: type, cfg: Fields, sliding_of: int) -> Config:
    """sliding_of: of so many layers in turn the last sees everything."""
    cfg = cfg.with_defaults(sliding_window=4096, query_pre_attn_scalar=256)
    base = gemma.Config.from_json(cfg)
    own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
    layers = base.layers
    own |= {
        "score_scale": cfg.number("query_pre_attn_scalar", 1e-6, 1e6) ** -0.5,
        "score_cap": cfg.number("attn_logit_softcapping", 1e-6, 1e6, default=None),
        "windows": layer_windows(cfg, layers, [(i + 1) % sliding_of > 0 for i in range(layers)]),
    }
    return cls(**own, logits_cap=cfg.number("final_logit_softcapping", 1e-6, 1e6, default=None))


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return sandwiched(g, cfg, w, [g.rope_table(cfg.rope)] * cfg.layers)


def sandwiched(g: Graph, cfg: Config, w: Weights, rotations: Sequence[Tensor]) -> Tensor:
    """The whole model, given each layer's rotation."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden = Layers(g, w, cfg.eps), cfg.hidden_size
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table, scale=cfg.embed_scale)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = layers.rms_norm(x, f"{p}input_layernorm", plus=1, name="attention_norm")
            h = llama.attention(layers, cfg, h, rotations[i], i, plus=1)
            out = f"{p}self_attn.o_proj"
            h = layers.linear(h, out, rows=hidden, bias=cfg.out_bias, name="attention_out")
            norm = f"{p}post_attention_layernorm"
            x = layers.rms_norm(h, norm, plus=1, residual=x, name="attention_post_norm")
            h = layers.rms_norm(x, f"{p}pre_feedforward_layernorm", plus=1, name="mlp_norm")
            h = llama.mlp(layers, cfg, h, i)
            norm = f"{p}post_feedforward_layernorm"
            x = layers.rms_norm(h, norm, plus=1, residual=x, name="mlp_post_norm")
    x = layers.rms_norm(g.output_rows(x), "norm", plus=1, name="final_norm")
    logits = layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
    return g.bound(logits, cfg.logits_cap, soft=True) if cfg.logits_cap else logits
