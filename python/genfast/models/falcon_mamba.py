"""Falcon Mamba: Mamba whose time steps, B and C are normed, without weights.

Zuo et al., 2024 (arXiv 2410.05355); upstream: transformers' modeling_falcon_mamba.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.models import mamba

forward = mamba.forward


class Config(mamba.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> mamba.Config:
        base = mamba.Config.from_json(cfg)
        eps = cfg.number("mixer_rms_eps", 0, 1, default=1e-6)
        return replace(base, mixer=replace(base.mixer, eps=eps))
