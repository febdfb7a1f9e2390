"""Euler's method for flow matching: samples are (1 - σ) · image + σ · noise, the model tells the
velocity noise - image.

Lipman et al., 2022 (arXiv 2210.02747); the shift of σ towards noise after Esser et al., 2024 (arXiv
2403.03206). Upstream: diffusers' scheduling_flow_match_euler_discrete.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.images.schedulers import sigmas as levels_of_sigma
from genfast.images.schedulers.levels import check_steps, refuse
from genfast.images.schedulers.run import Draw, Run, combine


@dataclass(frozen=True)
class FlowEuler:
    count: int
    shift: float
    spread: str
    terminal: float | None  # where the last σ is stretched to
    stochastic: bool
    dynamic: bool  # the shift depends on how many tokens the image has
    linear: bool  # in a dynamic shift: by mu, not by exp(mu)
    base_tokens: int
    most_tokens: int
    base_shift: float
    most_shift: float

    @classmethod
    def from_json(cls, cfg: Fields) -> FlowEuler:
        refuse(cfg, "invert_sigmas", "false: not implemented")
        kind = cfg.str_choice("time_shift_type", ("exponential", "linear"), default="exponential")
        base = cfg.int("base_image_seq_len", 1, 1 << 24, default=256)
        terminal = cfg.number("shift_terminal", 0, 0.999, default=None)
        return cls(
            count=cfg.int("num_train_timesteps", 1, 1 << 20, default=1000),
            shift=cfg.number("shift", 1e-3, 1e3, default=1.0),
            spread=levels_of_sigma.spread_of(cfg),
            terminal=terminal or None,
            stochastic=cfg.bool("stochastic_sampling", default=False),
            dynamic=cfg.bool("use_dynamic_shifting", default=False),
            linear=kind == "linear",
            base_tokens=base,
            most_tokens=cfg.int("max_image_seq_len", base + 1, 1 << 25, default=4096),
            base_shift=cfg.number("base_shift", -20, 20, default=0.5),
            most_shift=cfg.number("max_shift", -20, 20, default=1.15),
        )

    def run(self, steps: int, *, first: int = 0, tokens: int = 0, last: float | None = None) -> Run:
        """tokens: that the model sees an image as, for a dynamic shift. last: the σ of the last
        call before any shift; None: the least of training."""
        check_steps(steps, self.count)
        ends = np.array([1.0, 1 / self.count if last is None else last])
        if last is None and not self.dynamic:  # upstream shifts the ends once, and all again
            ends = self._shifted(ends)
        sigmas = np.linspace(ends[0], ends[1], steps)
        sigmas = self._shifted_by_tokens(sigmas, tokens) if self.dynamic else self._shifted(sigmas)
        if self.terminal is not None and sigmas[-1] < 1:  # a single step begins and ends at noise
            sigmas = 1 - (1 - sigmas) * ((1 - self.terminal) / (1 - sigmas[-1]))
        if self.spread != "timesteps":
            sigmas = levels_of_sigma.spread(self.spread, sigmas[0], sigmas[-1], steps)
        return _FlowRun(self, np.append(sigmas, 0.0), first)

    def _shifted(self, sigmas: np.ndarray) -> np.ndarray:
        return self.shift * sigmas / (1 + (self.shift - 1) * sigmas)

    def _shifted_by_tokens(self, sigmas: np.ndarray, tokens: int) -> np.ndarray:
        slope = (self.most_shift - self.base_shift) / (self.most_tokens - self.base_tokens)
        mu = self.base_shift + slope * (tokens - self.base_tokens)
        amount = mu if self.linear else math.exp(mu)
        return amount / (amount + (1 / sigmas - 1))


class _FlowRun(Run):
    def __init__(self, scheduler: FlowEuler, sigmas: np.ndarray, first: int) -> None:
        super().__init__(sigmas[:-1] * scheduler.count, first)
        self.sigmas = [float(s) for s in sigmas]
        self.stochastic = scheduler.stochastic

    def _mixture(self, i: int) -> tuple[float, float]:
        return 1 - self.sigmas[i], self.sigmas[i]

    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        now, after = self.sigmas[i], self.sigmas[i + 1]
        if not self.stochastic:
            return x + np.float32(after - now) * output
        image = x - np.float32(now) * output
        return combine(1 - after, image, after, draw()) if after else image
