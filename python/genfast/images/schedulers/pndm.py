"""PNDM: linear multistep over the noise, started by Runge-Kutta or by two half-steps.

Liu et al., 2022 (arXiv 2202.09778). Upstream: diffusers' scheduling_pndm.py, whose ways of
starting are kept: with skip_prk_steps the second timestep is visited twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.images.schedulers.ancestral import AlphaRun, last_alpha_of
from genfast.images.schedulers.levels import Levels
from genfast.images.schedulers.run import Draw, Run, combine, noise_of

_RUNGE_KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
_ADAMS_BASHFORTH = (  # of the newest answer first, by how many there are
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@dataclass(frozen=True)
class PNDM:
    levels: Levels
    last_alpha: float
    runge_kutta: bool

    @classmethod
    def from_json(cls, cfg: Fields) -> PNDM:
        levels = Levels.from_json(cfg, predictions=("epsilon", "v_prediction"))
        if levels.zero_snr:
            cfg.fail("rescale_betas_zero_snr", "false: PNDM divides by the last ᾱ")
        skips = cfg.bool("skip_prk_steps", default=False)
        return cls(levels, last_alpha_of(cfg, levels, False), not skips)

    def run(self, steps: int, *, first: int = 0) -> Run:
        return _PNDMRun(self, steps, first)


class _PNDMRun(AlphaRun):
    def __init__(self, scheduler: PNDM, steps: int, first: int) -> None:
        levels = scheduler.levels
        times = levels.timesteps(steps)
        self.stride = levels.count // steps
        self.warm = 0  # calls that belong to Runge-Kutta steps
        if not scheduler.runge_kutta:
            times = np.concatenate([times[:2], times[1:]])
        elif steps < 4:
            raise ValueError(
                f"steps={steps} is not allowed; allowed: 4 or more, as this scheduler starts with "
                "three Runge-Kutta steps (skip_prk_steps: false)"
            )
        else:
            ends = np.stack([times[:4], times[:4] + self.stride // 2], axis=1)
            ends = np.minimum(ends[:, ::-1].reshape(-1)[1:], levels.count - 1)
            start = ends.repeat(2)[1:-1]
            self.warm = len(start)
            times = np.concatenate([start, times[3:]])
        super().__init__(levels, times, first, last_alpha=scheduler.last_alpha)
        self.calls = 0
        self.answers: list[np.ndarray] = []  # newest first
        self.start = np.zeros(0, np.float32)
        self.sum = np.zeros(0, np.float32)

    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        call, self.calls = self.calls, self.calls + 1
        if call < self.warm:
            return self._runge_kutta(i, call, x, output)
        now = self.timesteps[i]
        before = now - self.stride
        if self.warm == 0 and call == 1:  # the second timestep again, from where the first began
            now, before, x = now + self.stride, now, self.start
            return self._move(x, now, before, (output + self.answers[0]) * np.float32(0.5))
        if call == 0:
            self.start = x
        self.answers = [output, *self.answers[:3]]
        weights = _ADAMS_BASHFORTH[len(self.answers) - 1]
        slope = sum(np.float32(w) * e for w, e in zip(weights, self.answers, strict=True))
        return self._move(x, now, before, slope)

    def _runge_kutta(self, i: int, call: int, x: np.ndarray, output: np.ndarray) -> np.ndarray:
        part = call % 4
        begin = self.timesteps[i - part]
        before = self.timesteps[i] - (0 if call % 2 else self.stride // 2)
        weighed = np.float32(_RUNGE_KUTTA[part]) * output
        self.sum = weighed if part == 0 else self.sum + weighed
        if part == 0:
            self.start = x
            self.answers = [output, *self.answers[:3]]
        slope = self.sum if part == 3 else output
        return self._move(self.start, begin, before, slope)

    def _move(self, x: np.ndarray, now: float, before: float, output: np.ndarray) -> np.ndarray:
        """Formula (9) of the paper."""
        alpha, earlier = self.alpha(now), self.alpha(before)
        noise = noise_of(self.levels.prediction, x, output, *self.parts(now))
        below = alpha * (1 - earlier) ** 0.5 + (alpha * (1 - alpha) * earlier) ** 0.5
        return combine((earlier / alpha) ** 0.5, x, -(earlier - alpha) / below, noise)
