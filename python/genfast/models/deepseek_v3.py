"""DeepSeek-V3 and R1: V2 with experts chosen by sigmoid scores and a bias, group by group.

DeepSeek-AI, 2024 (arXiv 2412.19437); upstream: transformers' modeling_deepseek_v3.py. The layers
that predict more than one token ahead (num_nextn_predict_layers) are not loaded.
"""

from __future__ import annotations

from genfast.config import Fields
from genfast.models import deepseek_v2
from genfast.models.deepseek_v2 import forward  # noqa: F401


class Config(deepseek_v2.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            max_position_embeddings=4096,
            q_lora_rank=1536,
            n_routed_experts=256,
            n_shared_experts=1,
            moe_intermediate_size=2048,
            first_k_dense_replace=3,
            num_experts_per_tok=8,
            n_group=8,
            topk_group=4,
            routed_scaling_factor=2.5,
        )
        cfg.str_choice("topk_method", ("noaux_tc",), default="noaux_tc")
        cfg.str_choice("scoring_func", ("sigmoid",), default="sigmoid")
        return deepseek_v2.read(
            cls,
            cfg,
            grouped=True,
            interleaved=cfg.bool("rope_interleave", default=True),
            scoring="sigmoid",
            biased=True,
            renormalise=cfg.bool("norm_topk_prob", default=True),
        )
