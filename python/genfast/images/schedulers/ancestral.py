"""DDPM and DDIM: a step back in the diffusion itself, with noise and without.

Ho et al., 2020 (arXiv 2006.11239); Song et al., 2020 (arXiv 2010.02502). Upstream: diffusers'
scheduling_ddpm.py and scheduling_ddim.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.images.schedulers.bounds import Bounds
from genfast.images.schedulers.levels import Levels
from genfast.images.schedulers.run import Draw, Run, combine, image_of, noise_of

_NONE = Bounds()


class AlphaRun(Run):
    """A run whose samples are √ᾱ · image + √(1 - ᾱ) · noise.

    last_alpha: ᾱ before the first timestep. bounds: of images.
    """

    def __init__(
        self,
        levels: Levels,
        timesteps: np.ndarray,
        first: int,
        *,
        last_alpha: float = 1.0,
        bounds: Bounds = _NONE,
    ) -> None:
        super().__init__(timesteps, first)
        self.levels, self.last_alpha, self.bounds = levels, last_alpha, bounds

    def alpha(self, timestep: float) -> float:
        """ᾱ at a whole timestep; below 0: the image is reached."""
        return float(self.levels.alphas[int(timestep)]) if timestep >= 0 else self.last_alpha

    def _mixture(self, i: int) -> tuple[float, float]:
        return self.parts(self.timesteps[i])

    def parts(self, timestep: float) -> tuple[float, float]:
        """√ᾱ and √(1 - ᾱ)."""
        alpha = self.alpha(timestep)
        return alpha**0.5, (1 - alpha) ** 0.5

    def clean(self, i: int, x: np.ndarray, output: np.ndarray) -> np.ndarray:
        """The image that the model's answer implies, within its bounds."""
        image = image_of(self.levels.prediction, x, output, *self.parts(self.timesteps[i]))
        return self.bounds(image)


@dataclass(frozen=True)
class DDPM:
    levels: Levels
    bounds: Bounds
    large: bool  # the variance added is β, not what is left of it given the image

    @classmethod
    def from_json(cls, cfg: Fields) -> DDPM:
        kinds = ("fixed_small", "fixed_small_log", "fixed_large")
        variance = cfg.str_choice("variance_type", kinds, default="fixed_small")
        return cls(
            Levels.from_json(cfg), Bounds.from_json(cfg, clip=True), variance == "fixed_large"
        )

    def run(self, steps: int, *, first: int = 0) -> Run:
        return _DDPMRun(self, self.levels.timesteps(steps), first)


class _DDPMRun(AlphaRun):
    def __init__(self, scheduler: DDPM, timesteps: np.ndarray, first: int) -> None:
        super().__init__(scheduler.levels, timesteps, first, bounds=scheduler.bounds)
        self.large = scheduler.large

    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        last = i + 1 == len(self.timesteps)
        alpha, before = (
            self.alpha(self.timesteps[i]),
            1.0 if last else self.alpha(self.timesteps[i + 1]),
        )
        kept = alpha / before
        image = self.clean(i, x, output)
        mean = combine(
            before**0.5 * (1 - kept) / (1 - alpha),
            image,
            kept**0.5 * (1 - before) / (1 - alpha),
            x,
        )
        if self.timesteps[i] == 0:
            return mean
        variance = 1 - kept
        if not self.large:
            variance = max(variance * (1 - before) / (1 - alpha), 1e-20)
        return mean + np.float32(variance**0.5) * draw()


@dataclass(frozen=True)
class DDIM:
    levels: Levels
    bounds: Bounds
    last_alpha: float

    @classmethod
    def from_json(cls, cfg: Fields) -> DDIM:
        levels = Levels.from_json(cfg)
        return cls(levels, Bounds.from_json(cfg, clip=True), last_alpha_of(cfg, levels, True))

    def run(self, steps: int, *, first: int = 0) -> Run:
        return _DDIMRun(self, steps, first)


def last_alpha_of(cfg: Fields, levels: Levels, default: bool) -> float:
    return 1.0 if cfg.bool("set_alpha_to_one", default=default) else float(levels.alphas[0])


class _DDIMRun(AlphaRun):
    def __init__(self, scheduler: DDIM, steps: int, first: int) -> None:
        levels = scheduler.levels
        times = levels.timesteps(steps)
        super().__init__(
            levels, times, first, last_alpha=scheduler.last_alpha, bounds=scheduler.bounds
        )
        self.stride = levels.count // steps

    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        now, before = self.parts(self.timesteps[i]), self.parts(self.timesteps[i] - self.stride)
        noise = noise_of(self.levels.prediction, x, output, *now)
        return combine(before[0], self.clean(i, x, output), before[1], noise)
