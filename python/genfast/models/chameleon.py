"""Chameleon: Llama with a layer norm on every head of q and k, and images as ids of its vocabulary.

Chameleon Team, 2024 (arXiv 2405.09818); upstream: transformers' modeling_chameleon.py, which never
gives the id of an image's code. Here the logits are the model's own, and the codes are suppressed
unless a request says otherwise: `generate(…, suppress_tokens=[])` may answer with images too.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.weights import Weights

_CODE = "IMGIMG"  # what the name of a code begins with
_HEAD_EPS = 1e-5


@dataclass(frozen=True)
class Config(llama.Config):
    swin_norm: bool = False  # norms after attention and MLP instead of before

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            rms_norm_eps=1e-5, max_position_embeddings=4096, num_key_value_heads=32
        )
        base = llama.Config.from_json(cfg)
        own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
        own["suppressed"] = _codes(cfg, base.vocab_size)
        return cls(**own, swin_norm=cfg.bool("swin_norm", default=False))


def _codes(cfg: Fields, vocab_size: int) -> tuple[int, ...]:
    """The ids that stand for codes of an image, not those that begin and end one."""
    names = cfg.object("vocabulary_map", default=None)
    if names is None:
        return ()
    codes = [name for name in names.values if name.startswith(_CODE)]
    return tuple(sorted(names.int(name, 0, vocab_size - 1) for name in codes))


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    if not cfg.swin_norm:
        return llama.forward(g, cfg, w, attend=attention)
    w.use_prefix("model.", "embed_tokens.weight")
    layers = Layers(g, w, cfg.eps)
    rotation = g.rope_table(cfg.rope)
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, cfg.hidden_size, tied=cfg.tied)
    x = g.embed(g.token_ids, table)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = attention(layers, cfg, x, rotation, i)
            out = f"{p}self_attn.o_proj"
            h = layers.linear(h, out, rows=cfg.hidden_size, bias=cfg.out_bias, name="attention_out")
            x = layers.rms_norm(h, f"{p}input_layernorm", residual=x, name="attention_norm")
            h = llama.mlp(layers, cfg, x, i)
            x = layers.rms_norm(h, f"{p}post_attention_layernorm", residual=x, name="mlp_norm")
    x = layers.rms_norm(g.output_rows(x), "norm", name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)


def attention(layers: Layers, cfg: Config, h: Tensor, rotation: Tensor, i: int) -> Tensor:
    """What the heads of layer i see, before the output projection."""
    g, p = layers.g, f"layers.{i}.self_attn."
    heads = {"q": cfg.heads, "k": cfg.kv_heads}
    groups = cfg.heads + cfg.kv_heads
    rows = [n * cfg.head_dim for n in (cfg.heads, cfg.kv_heads, cfg.kv_heads)]
    names = [f"{p}{name}_proj" for name in "qkv"]
    h = layers.linear(h, *names, rows=rows, bias=cfg.qkv_bias, name="qkv")
    weight, bias = (
        np.concatenate(
            [
                layers.w.array(f"{p}{name}_norm.{part}", count, cfg.head_dim).ravel()
                for name, count in heads.items()
            ]
        )
        for part in ("weight", "bias")
    )
    h = g.layer_norm(h, weight, bias, _HEAD_EPS, groups=groups, name="head_norm")
    h = g.rope(h, rotation, heads=groups, head_dim=cfg.head_dim)
    return g.attention(h, heads=cfg.heads, kv_heads=cfg.kv_heads, head_dim=cfg.head_dim)
