"""LCM: a consistency model leaps to the image, and noise takes it back to the next timestep.

Luo et al., 2023 (arXiv 2310.04378). Upstream: diffusers' scheduling_lcm.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.images.schedulers.ancestral import AlphaRun
from genfast.images.schedulers.bounds import Bounds
from genfast.images.schedulers.levels import Levels, check_steps
from genfast.images.schedulers.run import Draw, Run, combine

_SIGMA_DATA = 0.5


@dataclass(frozen=True)
class LCM:
    levels: Levels
    bounds: Bounds
    original_steps: int
    scaling: float

    @classmethod
    def from_json(cls, cfg: Fields) -> LCM:
        levels = Levels.from_json(cfg, betas=("scaled_linear", 0.00085, 0.012))
        most = levels.count
        return cls(
            levels,
            Bounds.from_json(cfg, clip=False),
            cfg.int("original_inference_steps", 1, most, default=min(50, most)),
            cfg.number("timestep_scaling", 0, 1e6, default=10.0),
        )

    def run(self, steps: int, *, first: int = 0) -> Run:
        return _LCMRun(self, steps, first)


class _LCMRun(AlphaRun):
    def __init__(self, scheduler: LCM, steps: int, first: int) -> None:
        known, levels = scheduler.original_steps, scheduler.levels
        check_steps(steps, known)
        trained = (np.arange(known, 0, -1) * (levels.count // known)) - 1
        chosen = np.floor(np.linspace(0, known, steps, endpoint=False)).astype(np.int64)
        super().__init__(levels, trained[chosen], first, bounds=scheduler.bounds)
        self.scaling = scheduler.scaling

    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        scaled = self.timesteps[i] * self.scaling
        total = scaled**2 + _SIGMA_DATA**2
        image = combine(scaled / total**0.5, self.clean(i, x, output), _SIGMA_DATA**2 / total, x)
        if i + 1 == len(self.timesteps):
            return image
        return self.noised(i + 1, image, draw())
