"""Mistral: Llama with a sliding window.

Jiang et al., 2023 (arXiv 2310.06825); upstream: transformers' modeling_mistral.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.models import llama
from genfast.models._layers import layer_windows
from genfast.models.llama import forward

__all__ = ["Config", "forward"]


class Config(llama.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> llama.Config:
        cfg = cfg.with_defaults(
            num_key_value_heads=8, max_position_embeddings=4096 * 32, sliding_window=4096
        )
        base = llama.Config.from_json(cfg)
        windows = layer_windows(cfg, base.layers, [True] * base.layers)
        return replace(base, qkv_bias=False, out_bias=False, mlp_bias=False, windows=windows)
