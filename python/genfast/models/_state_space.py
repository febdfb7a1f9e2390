"""The mixers of state space models, which stand where others have attention.

Names are Hugging Face's. What decides how long a state remembers (x_proj, dt_proj) is small and is
never quantised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.models._layers import ACTIVATIONS, Layers

# There is no limit in the model; this bounds what a request may ask for.
ENDLESS = 1 << 20


@dataclass(frozen=True)
class Mamba:
    """Gu and Dao, 2023 (arXiv 2312.00752); upstream: modeling_mamba.py. eps: of the norms of dt, B
    and C that some families have; weighted: whether these have weights."""

    hidden: int
    channels: int
    state: int
    rank: int
    width: int
    bias: bool
    conv_bias: bool
    eps: float | None = None
    weighted: bool = False

    @classmethod
    def from_json(cls, cfg: Fields) -> Mamba:
        hidden = cfg.int("hidden_size", 1, 1 << 17)
        auto = cfg.values.get("time_step_rank", "auto") == "auto"
        rank = -(-hidden // 16) if auto else cfg.int("time_step_rank", 1, 1 << 14)
        check_silu(cfg)
        return cls(
            hidden=hidden,
            channels=hidden * cfg.int("expand", 1, 64, default=2),
            state=cfg.int("state_size", 1, 1 << 12, default=16),
            rank=rank,
            width=conv_width(cfg, "conv_kernel"),
            bias=cfg.bool("use_bias", default=False),
            conv_bias=cfg.bool("use_conv_bias", default=True),
        )


def check_silu(cfg: Fields) -> None:
    if ACTIVATIONS[cfg.str_choice("hidden_act", ACTIVATIONS, default="silu")] != "silu":
        cfg.fail("hidden_act", "silu, which all published ones have")


def conv_width(cfg: Fields, name: str) -> int:
    return cfg.int(name, 2, 8, default=4)


def convolved(
    layers: Layers, x: Tensor, p: str, channels: int, width: int, bias: bool, first: int
) -> Tensor:
    """silu of the causal convolution of x's columns from `first` on."""
    weight = layers.w.array(f"{p}conv1d.weight", channels, 1, width)
    taps = np.ascontiguousarray(weight[:, 0].T)
    shift = layers.w.vector(f"{p}conv1d.bias", sizes=[channels]) if bias else None
    return layers.g.causal_conv1d(x, taps, shift, first=first, activation="silu")


def mamba(layers: Layers, cfg: Mamba, h: Tensor, p: str, **options) -> Tensor:
    """What a Mamba mixer makes of normed rows h; p: "layers.3.mixer."; options: of the last
    `matmul`."""
    g, w, n = layers.g, layers.w, cfg.state
    both = layers.linear(h, f"{p}in_proj", rows=2 * cfg.channels, bias=cfg.bias, name="in_proj")
    x = convolved(layers, both, p, cfg.channels, cfg.width, cfg.conv_bias, 0)
    rows = cfg.rank + 2 * n

    def projected(part: range, name: str) -> Tensor:
        return layers.linear(x, f"{p}x_proj", rows=rows, part=part, quantised=False, name=name)

    dt, bc = projected(range(cfg.rank), "dt_low"), projected(range(cfg.rank, rows), "bc")
    if cfg.eps is not None:
        dt = normed(layers, cfg, dt, [f"{p}dt_layernorm"], cfg.rank)
        bc = normed(layers, cfg, bc, [f"{p}b_layernorm", f"{p}c_layernorm"], n)
    dt = layers.linear(dt, f"{p}dt_proj", rows=cfg.channels, bias=True, quantised=False, name="dt")
    y = g.selective_scan(
        x,
        dt,
        bc,
        both,
        rates=np.ascontiguousarray(-np.exp(w.array(f"{p}A_log", cfg.channels, n).T)),
        skip=w.vector(f"{p}D", sizes=[cfg.channels]),
        heads=1,
        head_dim=cfg.channels,
        state=n,
        first=(0, 0, 0, cfg.channels),
    )
    options = {"name": "mixer_out", **options}
    return layers.linear(y, f"{p}out_proj", rows=cfg.hidden, bias=cfg.bias, **options)


def normed(layers: Layers, cfg: Mamba, x: Tensor, names: list[str], size: int) -> Tensor:
    """x's groups of `size` columns, each normed by itself."""
    if cfg.weighted:
        weight = layers.w.vector(*(f"{name}.weight" for name in names), sizes=[size] * len(names))
    else:
        weight = np.ones(size * len(names), np.float32)
    return layers.g.rms_norm(x, weight, cfg.eps, groups=len(names), name="dt_bc_norm")


@dataclass(frozen=True)
class Mamba2:
    """Dao and Gu, 2024 (arXiv 2405.21060); upstream: modeling_mamba2.py. norm_groups: of the norm
    after the gate."""

    hidden: int
    heads: int
    head_dim: int
    state: int
    groups: int
    width: int
    bias: bool
    conv_bias: bool
    eps: float
    dt_limits: tuple[float, float]
    norm_groups: int

    @property
    def channels(self) -> int:
        return self.heads * self.head_dim


def mamba2(layers: Layers, cfg: Mamba2, h: Tensor, p: str, **options) -> Tensor:
    """As `mamba`, of the second generation: a decay a head, B and C shared by groups of heads."""
    g, w, channels = layers.g, layers.w, cfg.channels
    convolution = channels + 2 * cfg.groups * cfg.state
    rows = channels + convolution + cfg.heads  # the gate, x with B and C, dt
    all_in = layers.linear(h, f"{p}in_proj", rows=rows, bias=cfg.bias, name="in_proj")
    xbc = convolved(layers, all_in, p, convolution, cfg.width, cfg.conv_bias, channels)
    y = g.selective_scan(
        xbc,
        all_in,
        xbc,
        all_in,
        rates=-np.exp(w.vector(f"{p}A_log", sizes=[cfg.heads])),
        skip=np.repeat(w.vector(f"{p}D", sizes=[cfg.heads]), cfg.head_dim),
        dt_bias=w.vector(f"{p}dt_bias", sizes=[cfg.heads]),
        heads=cfg.heads,
        head_dim=cfg.head_dim,
        state=cfg.state,
        groups=cfg.groups,
        first=(0, channels + convolution, channels, 0),
        dt_limits=cfg.dt_limits,
    )
    weight = w.vector(f"{p}norm.weight", sizes=[channels])
    y = g.rms_norm(y, weight, cfg.eps, groups=cfg.norm_groups, name="scan_norm")
    options = {"name": "mixer_out", **options}
    return layers.linear(y, f"{p}out_proj", rows=cfg.hidden, bias=cfg.bias, **options)
