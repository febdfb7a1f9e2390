"""Euler's method along the probability flow, plain and ancestral (with fresh noise each step).

Karras et al., 2022 (arXiv 2206.00364), algorithm 2; the ancestral one after k-diffusion. Upstream:
diffusers' scheduling_euler_discrete.py and scheduling_euler_ancestral_discrete.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.images.schedulers import sigmas as levels_of_sigma
from genfast.images.schedulers.levels import Levels
from genfast.images.schedulers.run import Draw, Run, image_of


class SigmaRun(Run):
    """A run whose samples are image + σ · noise. sigmas: one more than timesteps."""

    def __init__(
        self, levels: Levels, timesteps: np.ndarray, sigmas: np.ndarray, first: int
    ) -> None:
        super().__init__(timesteps, first)
        self.prediction = levels.prediction
        self.sigmas = [float(s) for s in sigmas]
        most = max(self.sigmas)
        self.scale = most if levels.spacing != "leading" else (most**2 + 1) ** 0.5

    def initial(self, noise: np.ndarray) -> np.ndarray:
        return np.float32(self.scale) * noise

    def _mixture(self, i: int) -> tuple[float, float]:
        return 1.0, self.sigmas[i]

    def model_input(self, i: int, x: np.ndarray) -> np.ndarray:
        return x / np.float32((self.sigmas[i] ** 2 + 1) ** 0.5)

    def clean(self, i: int, x: np.ndarray, output: np.ndarray) -> np.ndarray:
        """The image that the model's answer implies."""
        sigma = self.sigmas[i]
        if self.prediction == "epsilon":
            return x - np.float32(sigma) * output
        alpha = (sigma**2 + 1) ** -0.5
        return image_of(self.prediction, np.float32(alpha) * x, output, alpha, sigma * alpha)


@dataclass(frozen=True)
class Euler:
    levels: Levels
    spread: str
    log_linear: bool
    ends_at_least: bool  # at the least σ of training, not at 0
    continuous: bool  # timesteps are ¼ ln σ

    @classmethod
    def from_json(cls, cfg: Fields) -> Euler:
        levels = Levels.from_json(cfg, spacing="linspace")
        for field in ("sigma_min", "sigma_max"):
            if field in cfg:
                cfg.fail(field, "null: the ends of training's σ are used")
        between = cfg.str_choice("interpolation_type", ("linear", "log_linear"), default="linear")
        ends = cfg.str_choice("final_sigmas_type", ("zero", "sigma_min"), default="zero")
        kind = cfg.str_choice("timestep_type", ("discrete", "continuous"), default="discrete")
        return cls(
            levels,
            levels_of_sigma.spread_of(cfg),
            between == "log_linear",
            ends == "sigma_min",
            kind == "continuous" and levels.prediction == "v_prediction",
        )

    def run(self, steps: int, *, first: int = 0) -> Run:
        table = self.levels.sigmas()
        times = self.levels.timesteps(steps, whole=False)
        sigmas = levels_of_sigma.at(table, times)
        if self.log_linear:  # one more than timesteps, as upstream: the walk ends at the least
            sigmas = levels_of_sigma.spread("exponential", table[-1], table[0], steps + 1)
        if self.spread != "timesteps":
            sigmas = levels_of_sigma.spread(self.spread, sigmas[0], sigmas[-1], steps)
            times = levels_of_sigma.timesteps_of(table, sigmas)
        if self.continuous:
            times = 0.25 * np.log(sigmas)
        last = table[0] if self.ends_at_least else 0.0
        return _EulerRun(self.levels, times, np.append(sigmas, last), first)


class _EulerRun(SigmaRun):
    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        slope = (x - self.clean(i, x, output)) / np.float32(self.sigmas[i])
        return x + slope * np.float32(self.sigmas[i + 1] - self.sigmas[i])


@dataclass(frozen=True)
class EulerAncestral:
    levels: Levels

    @classmethod
    def from_json(cls, cfg: Fields) -> EulerAncestral:
        return cls(
            Levels.from_json(cfg, spacing="linspace", predictions=("epsilon", "v_prediction"))
        )

    def run(self, steps: int, *, first: int = 0) -> Run:
        times = self.levels.timesteps(steps, whole=False)
        sigmas = levels_of_sigma.at(self.levels.sigmas(), times)
        return _AncestralRun(self.levels, times, np.append(sigmas, 0.0), first)


class _AncestralRun(SigmaRun):
    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        now, after = self.sigmas[i], self.sigmas[i + 1]
        added = (after**2 * (now**2 - after**2) / now**2) ** 0.5
        slope = (x - self.clean(i, x, output)) / np.float32(now)
        x = x + slope * np.float32((after**2 - added**2) ** 0.5 - now)
        return x + np.float32(added) * draw() if added else x
