"""Sequences of σ for the schedulers that count in it: at timesteps, Karras's, exponential.

Karras et al., 2022 (arXiv 2206.00364), equation 5.
"""

from __future__ import annotations

import numpy as np

from genfast.config import Fields
from genfast.images.schedulers.levels import refuse

_RHO = 7.0


def spread_of(cfg: Fields) -> str:
    """Which sequence a config asks for: "timesteps", "karras" or "exponential"."""
    refuse(cfg, "use_beta_sigmas", "false: not implemented")
    karras = cfg.bool("use_karras_sigmas", default=False)
    exponential = cfg.bool("use_exponential_sigmas", default=False)
    if karras and exponential:
        cfg.fail("use_exponential_sigmas", "false, as use_karras_sigmas is true")
    return "karras" if karras else "exponential" if exponential else "timesteps"


def spread(kind: str, most: float, least: float, steps: int) -> np.ndarray:
    """`steps` values from `most` down to `least`."""
    if kind == "karras":
        ramp = np.linspace(0, 1, steps)
        top, bottom = most ** (1 / _RHO), least ** (1 / _RHO)
        return (top + ramp * (bottom - top)) ** _RHO
    return np.exp(np.linspace(np.log(most), np.log(least), steps))


def at(table: np.ndarray, timesteps: np.ndarray) -> np.ndarray:
    """σ at timesteps that need not be whole; table: σ of each timestep."""
    return np.interp(timesteps, np.arange(len(table)), table)


def timesteps_of(table: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    """The timesteps, mostly not whole, that have these σ, between neighbours in log σ."""
    return np.interp(np.log(np.maximum(sigmas, 1e-10)), np.log(table), np.arange(len(table)))
