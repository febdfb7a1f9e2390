"""Qwen 3 MoE: Qwen 3 with routed experts.

Yang et al., 2025 (arXiv 2505.09388); upstream: transformers' modeling_qwen3_moe.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models import qwen2_moe
from genfast.models.qwen2_moe import forward

__all__ = ["Config", "forward"]


class Config(qwen2_moe.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> qwen2_moe.Config:
        cfg = cfg.with_defaults(
            max_position_embeddings=32768,
            num_key_value_heads=4,
            intermediate_size=6144,
            moe_intermediate_size=768,
            num_experts=128,
            num_experts_per_tok=8,
        )
        return qwen2_moe.read(cls, cfg, mlp_bias=False, head_norms=True)
