"""Qwen 3: Llama whose queries and keys are normed, head by head.

Yang et al., 2025 (arXiv 2505.09388); upstream: transformers' modeling_qwen3.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.models import llama
from genfast.models.llama import forward
from genfast.models.qwen2 import windows

__all__ = ["Config", "forward"]


class Config(llama.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> llama.Config:
        cfg = cfg.with_defaults(max_position_embeddings=32768, num_key_value_heads=32, head_dim=128)
        base = llama.Config.from_json(cfg)
        return replace(base, mlp_bias=False, head_norms=True, windows=windows(cfg, base.layers))
