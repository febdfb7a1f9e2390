"""Granite: Llama with multipliers at the embedding, the scores, the residuals and the logits.

IBM, 2024; upstream: transformers' modeling_granite.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.models import llama
from genfast.models.llama import forward

__all__ = ["Config", "forward"]


class Config(llama.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> llama.Config:
        """Instead of x + r · f(norm(x)) the model computes x / r + f(norm(x / r)): a norm does not
        see the factor, but in its eps."""
        base = llama.Config.from_json(cfg)
        residual = cfg.number("residual_multiplier", 1e-6, 1e6, default=1.0)
        return replace(
            base,
            eps=base.eps / residual**2,
            embed_scale=cfg.number("embedding_multiplier", 1e-6, 1e6, default=1.0) / residual,
            score_scale=cfg.number("attention_multiplier", 1e-6, 1e6, default=1.0),
            logits_scale=1 / cfg.number("logits_scaling", 1e-6, 1e6, default=1.0),
        )
