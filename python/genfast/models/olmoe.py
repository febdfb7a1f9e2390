"""OLMoE: Llama with experts, all of q and all of k normed, perhaps kept within a limit.

Muennighoff et al., 2024 (arXiv 2409.02060); upstream: transformers' modeling_olmoe.py.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama, olmo2, qwen2_moe
from genfast.weights import Weights


class Config(qwen2_moe.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> qwen2_moe.Config:
        size = cfg.int("intermediate_size", 1, 1 << 19, default=2048)
        cfg = cfg.with_defaults(
            max_position_embeddings=4096,
            rms_norm_eps=1e-5,
            intermediate_size=size,
            moe_intermediate_size=size,
            num_experts=64,
            num_experts_per_tok=8,
        )
        limit = cfg.number("clip_qkv", 1e-6, 1e6, default=None)
        return qwen2_moe.read(cls, cfg, mlp_bias=False, qkv_limit=limit)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return llama.forward(g, cfg, w, qwen2_moe.feed_forward, olmo2.attention)
