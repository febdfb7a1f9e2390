"""Mamba 2: Mamba with heads, each with one decay for all of its state.

Dao and Gu, 2024 (arXiv 2405.21060); upstream: transformers' modeling_mamba2.py.
"""

from __future__ import annotations

import math

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import mamba
from genfast.models._state_space import ENDLESS, Mamba2, check_silu, conv_width, mamba2
from genfast.weights import Weights


class Config(mamba.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        hidden = cfg.int("hidden_size", 1, 1 << 17, default=4096)
        heads = cfg.int("num_heads", 1, 1 << 14, default=128)
        head_dim = cfg.int("head_dim", 1, 1 << 14, default=64)
        if hidden * cfg.int("expand", 1, 64, default=2) != heads * head_dim:
            cfg.fail("num_heads", f"hidden_size * expand / head_dim = {head_dim}")
        groups = cfg.int("n_groups", 1, heads, default=8)
        if heads % groups:
            cfg.fail("n_groups", f"a divisor of num_heads = {heads}")
        check_silu(cfg)
        eps = cfg.number("layer_norm_epsilon", 0, 1, default=1e-5)
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22, default=32768),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10, default=64),
            context=ENDLESS,
            eps=eps,
            tied=cfg.bool("tie_word_embeddings", default=False),
            mixer=Mamba2(
                hidden=hidden,
                heads=heads,
                head_dim=head_dim,
                state=cfg.int("state_size", 1, 1 << 12, default=128),
                groups=groups,
                width=conv_width(cfg, "conv_kernel"),
                bias=cfg.bool("use_bias", default=False),
                conv_bias=cfg.bool("use_conv_bias", default=True),
                eps=eps,
                dt_limits=cfg.numbers("time_step_limit", 0, math.inf, 2, default=(0.0, math.inf)),
                norm_groups=groups,
            ),
        )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return mamba.forward(g, cfg, w, mamba2)
