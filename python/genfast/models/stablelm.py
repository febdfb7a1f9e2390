"""StableLM 2: Llama with layer norms, partly rotated heads, and a parallel form.

Bellagente et al., 2024 (arXiv 2402.17834); upstream: transformers' modeling_stablelm.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    normed: bool = False  # queries and keys, each head with a weight of its own
    parallel: bool = False

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            rms_norm_eps=cfg.number("layer_norm_eps", 0, 1, default=1e-5),
            max_position_embeddings=4096,
            num_key_value_heads=32,
            partial_rotary_factor=0.25,
        )
        base = llama.Config.from_json(cfg)
        own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
        own |= {
            "qkv_bias": cfg.bool("use_qkv_bias", default=False),
            "out_bias": False,
            "mlp_bias": False,
        }
        return cls(
            **own,
            normed=cfg.bool("qk_layernorm", default=False),
            parallel=cfg.bool("use_parallel_residual", default=False),
        )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers, hidden = Layers(g, w, cfg.eps), cfg.hidden_size
    sizes = {"heads": cfg.heads, "kv_heads": cfg.kv_heads, "head_dim": cfg.head_dim}
    groups = cfg.heads + cfg.kv_heads
    rows = [n * cfg.head_dim for n in (cfg.heads, cfg.kv_heads, cfg.kv_heads)]
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            normed = layers.layer_norm(x, f"{p}input_layernorm", name="attention_norm")
            names = [f"{p}self_attn.{n}_proj" for n in "qkv"]
            h = layers.linear(normed, *names, rows=rows, bias=cfg.qkv_bias, name="qkv")
            if cfg.normed:
                weight = np.concatenate(
                    [
                        w.vector(
                            f"{p}self_attn.{n}_layernorm.norms.{head}.weight", sizes=[cfg.head_dim]
                        )
                        for n, heads in (("q", cfg.heads), ("k", cfg.kv_heads))
                        for head in range(heads)
                    ]
                )
                h = g.layer_norm(h, weight, None, cfg.eps, groups=groups, name="head_norm")
            h = g.rope(h, rotation, heads=groups, head_dim=cfg.head_dim)
            h = g.attention(h, **sizes)
            out = f"{p}self_attn.o_proj"
            x = layers.linear(h, out, rows=hidden, residual=x, name="attention_out")
            if not cfg.parallel:
                normed = layers.layer_norm(x, f"{p}post_attention_layernorm", name="mlp_norm")
            x = llama.mlp(layers, cfg, normed, i, residual=x)
    x = layers.layer_norm(g.output_rows(x), "norm", name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
