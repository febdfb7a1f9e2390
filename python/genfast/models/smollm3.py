"""SmolLM 3: Llama where every fourth layer does not rotate queries and keys (NoPE).

Upstream: transformers' modeling_smollm3.py; NoPE: Yang et al., 2025 (arXiv 2501.18795).
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
            max_position_embeddings=32768,
            num_key_value_heads=4,
            rope_theta=2e6,
            tie_word_embeddings=True,
        )
        base = llama.Config.from_json(cfg)
        every = cfg.int("no_rope_layer_interval", 1, 1 << 10, default=4)
        usual = tuple(int((i + 1) % every != 0) for i in range(base.layers))
        rotated = cfg.ints("no_rope_layers", 0, 1, default=usual)  # 1: the layer rotates
        if len(rotated) != base.layers:
            cfg.fail("no_rope_layers", f"a list of {base.layers} numbers")
        windows = ()
        if cfg.bool("use_sliding_window", default=False):
            windows = layer_windows(cfg, base.layers, [not r for r in rotated])
        return replace(base, rotated=tuple(bool(r) for r in rotated), windows=windows)
