"""Bamba: Mamba 2 in most layers, attention in some, a gated MLP after each.

IBM, Princeton, CMU and UIUC, 2024; upstream: transformers' modeling_bamba.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers
from genfast.models._state_space import Mamba, Mamba2, check_silu, conv_width, mamba2
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    mixer: Mamba | Mamba2 | None = None
    attends: frozenset[int] = frozenset()  # the layers with attention; the others have the mixer
    norms: tuple[str, str] = ("pre_ff_layernorm", "final_layernorm")

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            num_key_value_heads=8,
            max_position_embeddings=262144,
            rms_norm_eps=1e-5,
            partial_rotary_factor=0.5,
        )
        check_silu(cfg)
        base = llama.Config.from_json(cfg)
        indices = cfg.ints("attn_layer_indices", 0, base.layers - 1, default=())
        return cls(**{**vars(base), "mixer": mixer_of(cfg, base), "attends": frozenset(indices)})


def mixer_of(cfg: Fields, base: llama.Config) -> Mamba2:
    heads = cfg.int("mamba_n_heads", 1, 1 << 14, default=128)
    channels = base.hidden_size * cfg.int("mamba_expand", 1, 64, default=2)
    if channels % heads:
        cfg.fail("mamba_n_heads", f"a divisor of mamba_expand * hidden_size = {channels}")
    head_dim = channels // heads
    if cfg.values.get("mamba_d_head", "auto") not in ("auto", head_dim):
        cfg.fail("mamba_d_head", f"mamba_expand * hidden_size / mamba_n_heads = {head_dim}")
    groups = cfg.int("mamba_n_groups", 1, heads, default=1)
    if heads % groups:
        cfg.fail("mamba_n_groups", f"a divisor of mamba_n_heads = {heads}")
    return Mamba2(
        hidden=base.hidden_size,
        heads=heads,
        head_dim=head_dim,
        state=cfg.int("mamba_d_state", 1, 1 << 12, default=256),
        groups=groups,
        width=conv_width(cfg, "mamba_d_conv"),
        bias=cfg.bool("mamba_proj_bias", default=False),
        conv_bias=cfg.bool("mamba_conv_bias", default=True),
        eps=base.eps,
        dt_limits=cfg.numbers("time_step_limit", 0, math.inf, 2, default=(0.0, math.inf)),
        norm_groups=groups,
    )


def mlp(layers: Layers, cfg: Config, h: Tensor, i: int, **options) -> Tensor:
    p = f"layers.{i}.feed_forward."
    return layers.gated_mlp(
        h, p, cfg.intermediate_size, cfg.activation, bias=cfg.mlp_bias, **options
    )


def forward(g: Graph, cfg: Config, w: Weights, mixer=mamba2, feed_forward=mlp) -> Tensor:
    """Logits of the output rows, [outputs, V]. mixer, feed_forward: another family's."""
    w.use_prefix("model.", "embed_tokens.weight")
    layers = Layers(g, w, cfg.eps)
    hidden = cfg.hidden_size
    rotation = g.rope_table(cfg.rope) if not cfg.rotated or any(cfg.rotated) else None
    table = w.embedding("embed_tokens.weight", cfg.vocab_size, hidden, tied=cfg.tied)
    x = g.embed(g.token_ids, table, scale=cfg.embed_scale)
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = layers.rms_norm(x, f"{p}input_layernorm", name="mixer_norm")
            if i in cfg.attends:
                h = llama.attention(layers, cfg, h, rotation, i)
                x = layers.linear(
                    h,
                    f"{p}self_attn.o_proj",
                    rows=hidden,
                    bias=cfg.out_bias,
                    residual=x,
                    name="attention_out",
                )
            else:
                x = mixer(layers, cfg.mixer, h, f"{p}mamba.", residual=x)
            h = layers.rms_norm(x, f"{p}{cfg.norms[0]}", name="mlp_norm")
            x = feed_forward(layers, cfg, h, i, residual=x)
    norm = w.vector(f"{cfg.norms[1]}.weight", sizes=[hidden]) * np.float32(cfg.logits_scale)
    x = g.rms_norm(g.output_rows(x), norm, cfg.eps, name="final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)
