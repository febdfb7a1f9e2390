"""Command R7B and A: Command R whose sliding layers rotate and whose full ones do not.

Cohere, 2025 (arXiv 2504.00698); upstream: transformers' modeling_cohere2.py.
"""

from __future__ import annotations

from dataclasses import replace

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import cohere
from genfast.models._layers import layer_windows
from genfast.weights import Weights


class Config(cohere.Config):
    theta = 10000.0

    @classmethod
    def from_json(cls, cfg: Fields) -> cohere.Config:
        cfg = cfg.with_defaults(sliding_window=4096)
        base = super().from_json(cfg)
        every = cfg.int("sliding_window_pattern", 1, 99, default=4)
        usual = [(i + 1) % every > 0 for i in range(base.layers)]
        return replace(base, normed=False, windows=layer_windows(cfg, base.layers, usual))


def forward(g: Graph, cfg: cohere.Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    rotation = g.rope_table(cfg.rope)
    return cohere.parallel(g, cfg, w, [rotation if window else None for window in cfg.windows])
