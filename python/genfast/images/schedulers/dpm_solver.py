"""DPM-Solver++: exponential multistep of first or second order over the predicted image.

Lu et al., 2022 (arXiv 2211.01095), and its stochastic form (SDE-DPM-Solver++). Upstream: diffusers'
scheduling_dpmsolver_multistep.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.images.schedulers import sigmas as levels_of_sigma
from genfast.images.schedulers.bounds import Bounds
from genfast.images.schedulers.levels import Levels, check_steps, refuse
from genfast.images.schedulers.run import Draw, Run, combine, image_of

_FEW = 15  # steps below which lower_order_final matters


@dataclass(frozen=True)
class DPMSolver:
    levels: Levels
    spread: str
    rounded: bool  # timesteps of a spread are rounded, not cut, to whole ones
    order: int
    heun: bool
    stochastic: bool
    lower_order_final: bool
    euler_at_final: bool
    ends_at_least: bool
    least_lambda: float
    bounds: Bounds

    @classmethod
    def from_json(cls, cfg: Fields) -> DPMSolver:
        for field in ("use_lu_lambdas", "use_flow_sigmas", "use_exponential_sigmas"):
            refuse(cfg, field, "false: not implemented")
        for field in ("sigma_min", "sigma_max"):
            if field in cfg:
                cfg.fail(field, "null: the ends of training's σ are used")
        levels = Levels.from_json(cfg, spacing="linspace")
        algorithms = ("dpmsolver++", "sde-dpmsolver++")
        algorithm = cfg.str_choice("algorithm_type", algorithms, default=algorithms[0])
        solver = cfg.str_choice("solver_type", ("midpoint", "heun"), default="midpoint")
        ends = cfg.str_choice("final_sigmas_type", ("zero", "sigma_min"), default="zero")
        least = cfg.values.get("lambda_min_clipped")
        if least in (None, -math.inf, "-inf"):
            least = -math.inf
        else:
            least = cfg.number("lambda_min_clipped", -1e6, 1e6)
        return cls(
            levels,
            levels_of_sigma.spread_of(cfg),
            cfg.values.get("beta_schedule") != "squaredcos_cap_v2",
            cfg.int("solver_order", 1, 2, default=2),
            solver == "heun",
            algorithm == "sde-dpmsolver++",
            cfg.bool("lower_order_final", default=True),
            cfg.bool("euler_at_final", default=False),
            ends == "sigma_min",
            least,
            Bounds.from_json(cfg, clip=None),
        )

    def run(self, steps: int, *, first: int = 0) -> Run:
        check_steps(steps, self.levels.count)
        table = self.levels.sigmas()
        times = self._timesteps(table, steps)
        sigmas = levels_of_sigma.at(table, times)
        if self.spread != "timesteps":
            sigmas = levels_of_sigma.spread(self.spread, table[-1], table[0], steps)
            times = levels_of_sigma.timesteps_of(table, sigmas)
            times = times.round() if self.rounded else np.floor(times)
        last = table[0] if self.ends_at_least else 0.0
        return _DPMRun(self, times, np.append(sigmas, last), first)

    def _timesteps(self, table: np.ndarray, steps: int) -> np.ndarray:
        levels = self.levels
        known = int(np.count_nonzero(-np.log(table) >= self.least_lambda))
        if levels.spacing == "linspace":
            return np.linspace(0, known - 1, steps + 1).round()[:0:-1]
        if levels.spacing == "leading":
            times = np.arange(steps, 0, -1) * (known // (steps + 1)) + levels.steps_offset
            return np.minimum(times, levels.count - 1).astype(np.float64)
        return np.arange(known, 0, -levels.count / steps).round() - 1


class _DPMRun(Run):
    """Samples are alpha · image + sigma · noise with alpha² + sigma² = 1."""

    def __init__(
        self, scheduler: DPMSolver, timesteps: np.ndarray, sigmas: np.ndarray, first: int
    ) -> None:
        super().__init__(timesteps, first)
        self.scheduler = scheduler
        self.prediction = scheduler.levels.prediction
        ratios = [float(s) for s in sigmas]
        self.mixtures = [((s * s + 1) ** -0.5, s * (s * s + 1) ** -0.5) for s in ratios]
        self.lambdas = [-math.log(s) if s else math.inf for s in ratios]
        self.previous: np.ndarray | None = None  # the image predicted at the call before

    def _mixture(self, i: int) -> tuple[float, float]:
        return self.mixtures[i]

    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        how = self.scheduler
        image = how.bounds(image_of(self.prediction, x, output, *self.mixtures[i]))
        previous, self.previous = self.previous, image
        sigma = self.mixtures[i][1]
        alpha_next, sigma_next = self.mixtures[i + 1]
        h = self.lambdas[i + 1] - self.lambdas[i]
        shrink = math.exp(-2 * h) if how.stochastic else math.exp(-h)
        kept = sigma_next / sigma * (math.exp(-h) if how.stochastic else 1)
        gain = alpha_next * (1 - shrink)
        x = combine(kept, x, gain, image)
        if previous is not None and how.order == 2 and not self._ends_first_order(i):
            ratio = (self.lambdas[i] - self.lambdas[i - 1]) / h
            slope = 0.5 * gain
            if how.heun:
                slope = alpha_next * (1 - (1 - shrink) / (2 * h if how.stochastic else h))
            x = x + np.float32(slope / ratio) * (image - previous)
        if how.stochastic and sigma_next:
            x = x + np.float32(sigma_next * (1 - math.exp(-2 * h)) ** 0.5) * draw()
        return x

    def _ends_first_order(self, i: int) -> bool:
        how, calls = self.scheduler, len(self.timesteps)
        few = how.lower_order_final and calls < _FEW
        return i == calls - 1 and (how.euler_at_final or few or not how.ends_at_least)
