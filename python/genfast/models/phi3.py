"""Phi 3 and 3.5, Phi 4: Llama with fused matrices, a window, and partly rotated heads.

Abdin et al., 2024 (arXiv 2404.14219); upstream: transformers' modeling_phi3.py.
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
        base = llama.Config.from_json(cfg.with_defaults(max_position_embeddings=4096))
        windows = layer_windows(cfg, base.layers, [True] * base.layers)
        return replace(
            base,
            eps=cfg.number("rms_norm_eps", 0, 1, default=1e-5),
            qkv_bias=False,
            out_bias=False,
            mlp_bias=False,
            fused=True,
            windows=windows,
        )
