"""RWKV 5 (Eagle): no attention, a matrix a head whose rows fade, each at its rate.

Peng et al., 2024 (arXiv 2404.05892); upstream: the modeling_rwkv5.py beside RWKV/v5-Eagle-7B-HF's
weights, whose names and config it has, and BlinkDL's rwkv package (which calls it 5.2).
"""

from __future__ import annotations

from genfast.graph import Graph, Tensor
from genfast.models import _rwkv
from genfast.models._layers import Layers
from genfast.models._rwkv import MatrixConfig as Config
from genfast.models._rwkv import Shifted, amount_of, head_vectors
from genfast.weights import Weights


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return _rwkv.forward(g, cfg, w, time_mix)


def time_mix(layers: Layers, cfg: Config, h: Shifted, p: str, residual: Tensor) -> Tensor:
    """residual + output(what the heads make of receptance, key, value and gate)."""
    w, hidden = layers.w, cfg.hidden

    def projected(part: str, activation: str = "none") -> Tensor:
        x = h.mixed(amount_of(w, p, part, hidden), part)
        return layers.linear(x, f"{p}{part}", rows=hidden, activation=activation, name=part)

    columns = [projected(part) for part in ("receptance", "key", "value")]
    y = layers.g.wkv6(
        [*columns, projected("gate", "silu")],
        w.array(f"{p}time_decay", cfg.heads, cfg.head_dim).reshape(-1),
        head_vectors(w, p, cfg.heads, cfg.head_dim),
        heads=cfg.heads,
        head_dim=cfg.head_dim,
        eps=cfg.head_eps,
    )
    return layers.linear(y, f"{p}output", rows=hidden, residual=residual, name="time_out")
