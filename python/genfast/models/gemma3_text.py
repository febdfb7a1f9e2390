"""Gemma 3, the text model: five sliding layers to a full one, each kind with a rotation of its own.

Gemma Team, 2025 (arXiv 2503.19786); upstream: transformers' modeling_gemma3.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import gemma2
from genfast.rope import RopeFrequencies, rope_from_config
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(gemma2.Config):
    local_rope: RopeFrequencies | None = None  # of sliding layers

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            max_position_embeddings=131072,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=256,
            rope_theta=1e6,
        )
        head_dim = cfg.int("head_dim", 2, 256)
        context = cfg.int("max_position_embeddings", 1, 1 << 24)
        local = Fields({"rope_theta": cfg.values.get("rope_local_base_freq", 1e4)}, cfg.file)
        whole = cfg
        if "full_attention" in (cfg.values.get("rope_parameters") or {}):
            by_kind = cfg.object("rope_parameters")
            local, whole = (
                Fields({"rope_parameters": by_kind.object(kind).values}, cfg.file)
                for kind in ("sliding_attention", "full_attention")
            )
            cfg = Fields({**cfg.values, "rope_parameters": None}, cfg.file, cfg.prefix)
        return replace(
            gemma2.read(cls, cfg, cfg.int("sliding_window_pattern", 1, 99, default=6)),
            head_norms=True,
            rope=rope_from_config(whole, head_dim, context),
            local_rope=rope_from_config(local, head_dim, context),
        )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    everywhere, nearby = g.rope_table(cfg.rope), g.rope_table(cfg.local_rope, name="local_rope")
    rotations = [nearby if window else everywhere for window in cfg.windows]
    return gemma2.sandwiched(g, cfg, w, rotations)
