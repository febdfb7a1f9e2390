"""Qwen 1.5 to 2.5: Llama with biases at q, k and v, and a window for the last layers if asked for.

Yang et al., 2024 (arXiv 2407.10671); upstream: transformers' modeling_qwen2.py.
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
        cfg = cfg.with_defaults(max_position_embeddings=32768, num_key_value_heads=32)
        base = llama.Config.from_json(cfg)
        return replace(
            base, qkv_bias=True, out_bias=False, mlp_bias=False, windows=windows(cfg, base.layers)
        )


def windows(cfg: Fields, layers: int) -> tuple[int, ...]:
    """Qwen's: only with use_sliding_window, from layer max_window_layers on."""
    if not cfg.bool("use_sliding_window", default=False):
        return ()
    first = cfg.int("max_window_layers", 0, 1 << 10, default=28)
    cfg = cfg.with_defaults(sliding_window=4096)
    return layer_windows(cfg, layers, [i >= first for i in range(layers)])
