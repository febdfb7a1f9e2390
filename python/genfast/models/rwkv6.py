"""RWKV 6 (Finch): RWKV 5 whose rates, and mixes with the token before, each token decides.

Peng et al., 2024 (arXiv 2404.05892); upstream: the modeling_rwkv6.py beside RWKV/v6-Finch-7B-HF's
weights, whose names and config it has, and BlinkDL's rwkv package.
"""

from __future__ import annotations

import numpy as np

from genfast.graph import Graph, Tensor
from genfast.models import _rwkv
from genfast.models._layers import Layers
from genfast.models._rwkv import MatrixConfig as Config
from genfast.models._rwkv import Shifted, head_vectors
from genfast.weights import PackedWeight, Weights

PARTS = "wkvrg"  # decay, key, value, receptance and gate, as `time_maa_w2` has them


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return _rwkv.forward(g, cfg, w, time_mix, amount_of=amount_of)


def amount_of(w: Weights, p: str, part: str, hidden: int) -> np.ndarray:
    """Of the row before in what `part` projects."""
    return w.array(f"{p}time_maa_{part[0]}", 1, 1, hidden).reshape(-1)


def ranks(hidden: int) -> tuple[int, int]:
    """Of the mixes and of the decay: no config has them, upstream's code does."""
    return (64, 128) if hidden >= 4096 else (32, 64)


def time_mix(layers: Layers, cfg: Config, h: Shifted, p: str, residual: Tensor) -> Tensor:
    """residual + output(what the heads make of receptance, key, value, gate and decay)."""
    g, w, hidden = layers.g, layers.w, cfg.hidden
    _, rank = ranks(hidden)
    x = mixes(layers, h, p)

    def projected(part: str, activation: str = "none") -> Tensor:
        name = f"{p}{part}"
        return layers.linear(x[part[0]], name, rows=hidden, activation=activation, name=part)

    columns = [projected(part) for part in ("receptance", "key", "value")]
    low = small(w, f"{p}time_decay_w1", hidden, rank)
    low = g.matmul(x["w"], low, None, activation="tanh", name="decay_low")
    decay = w.array(f"{p}time_decay", 1, 1, hidden).reshape(-1)
    decay = g.matmul(low, small(w, f"{p}time_decay_w2", rank, hidden), decay, name="decay")
    y = g.wkv6(
        [*columns, projected("gate", "silu")],
        decay,
        head_vectors(w, p, cfg.heads, cfg.head_dim),
        heads=cfg.heads,
        head_dim=cfg.head_dim,
        eps=cfg.head_eps,
    )
    return layers.linear(y, f"{p}output", rows=hidden, residual=residual, name="time_out")


def mixes(layers: Layers, h: Shifted, p: str) -> dict[str, Tensor]:
    """What each of PARTS projects: rows[t] + (rows[t - 1] - rows[t]) · (a vector + what
    tanh(rows mixed · w1) · w2 adds to it for this token)."""
    g, w, hidden = layers.g, layers.w, h.rows.shape[1]
    rank, _ = ranks(hidden)
    low = small(w, f"{p}time_maa_w1", hidden, len(PARTS) * rank)
    low = g.matmul(
        h.mixed(amount_of(w, p, "x", hidden), "mixes"),
        low,
        None,
        activation="tanh",
        name="mixes_low",
    )
    outer = w.head_matrices(
        f"{p}time_maa_w2",
        len(PARTS),
        rank,
        range(rank),
        hidden,
        transposed=True,
        stacked=True,
        quantised=False,
    )
    added = g.head_matmul(low, outer, name="mixes")
    return {
        n: g.multiply(
            h.step,
            added,
            h.mixed(amount_of(w, p, n, hidden), n),
            first=i * hidden,
            name=f"{n}_mix",
        )
        for i, n in enumerate(PARTS)
    }


def small(w: Weights, name: str, cols: int, rows: int) -> PackedWeight:
    """A matrix of low rank, stored as [cols, rows]: it decides what a state keeps, so is never
    quantised."""
    return w.matrix(name, rows=[rows], cols=cols, transposed=True, quantised=False)
