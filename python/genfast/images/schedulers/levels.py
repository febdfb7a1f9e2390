"""Noise levels: how much of a sample is image and how much noise, at each timestep of training.

A sample at timestep t is √ᾱ · image + √(1 - ᾱ) · noise (Ho et al., 2020, arXiv 2006.11239), or, in
the units of Karras et al. (2022, arXiv 2206.00364), image + σ · noise with σ² = (1 - ᾱ) / ᾱ. Field
names and defaults are those of diffusers' scheduler_config.json.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields

PREDICTIONS = ("epsilon", "v_prediction", "sample")
SPACINGS = ("leading", "trailing", "linspace")
ZERO_SNR_ALPHA = 2.0**-24  # what diffusers puts where a σ would be infinite


@dataclass(frozen=True)
class Levels:
    """alphas: ᾱ at each timestep of training, float64 [T], falling."""

    alphas: np.ndarray
    prediction: str
    spacing: str
    steps_offset: int
    zero_snr: bool

    @classmethod
    def from_json(
        cls,
        cfg: Fields,
        *,
        spacing: str = "leading",
        predictions: tuple[str, ...] = PREDICTIONS,
        betas: tuple[str, float, float] = ("linear", 1e-4, 0.02),
    ) -> Levels:
        """spacing, betas (schedule, start, end): what the scheduler assumes where the file is
        silent. LoadError for fields out of range, and for options that are not implemented."""
        zero_snr = cfg.bool("rescale_betas_zero_snr", default=False)
        steps = cfg.int("num_train_timesteps", 1, 1 << 20, default=1000)
        values = _betas(cfg, steps, betas)
        if zero_snr:
            values = _zero_terminal_snr(values)
        return cls(
            alphas=np.cumprod(1 - values),
            prediction=cfg.str_choice("prediction_type", predictions, default="epsilon"),
            spacing=cfg.str_choice("timestep_spacing", SPACINGS, default=spacing),
            steps_offset=cfg.int("steps_offset", 0, steps - 1, default=0),
            zero_snr=zero_snr,
        )

    @property
    def count(self) -> int:
        """Timesteps of training."""
        return len(self.alphas)

    def sigmas(self) -> np.ndarray:
        """σ at each timestep of training, rising; finite."""
        alphas = self.alphas.copy()
        if self.zero_snr:
            alphas[-1] = ZERO_SNR_ALPHA
        return np.sqrt((1 - alphas) / alphas)

    def timesteps(self, steps: int, *, whole: bool = True) -> np.ndarray:
        """`steps` timesteps, the noisiest first. whole: rounded where they are evenly spaced over
        all of training (linspace); the others always are."""
        check_steps(steps, self.count)
        if self.spacing == "linspace":
            spread = np.linspace(0, self.count - 1, steps)[::-1]
            return spread.round() if whole else spread
        if self.spacing == "leading":
            times = np.arange(steps)[::-1] * (self.count // steps) + self.steps_offset
            return np.minimum(times, self.count - 1).astype(np.float64)
        return np.round(np.arange(self.count, 0, -self.count / steps))[:steps] - 1


def check_steps(steps: int, most: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= most:
        raise ValueError(f"steps={steps!r} is not allowed; allowed: an int 1 to {most}")


def refuse(cfg: Fields, field: str, expected: str) -> None:
    """LoadError where a boolean field asks for what is not implemented."""
    if cfg.bool(field, default=False):
        cfg.fail(field, expected)


def _betas(cfg: Fields, steps: int, defaults: tuple[str, float, float]) -> np.ndarray:
    """The variance that each timestep of training adds, float64 [steps]."""
    if cfg.values.get("trained_betas") is not None:
        return np.array(cfg.numbers("trained_betas", 1e-12, 0.9999, steps))
    kinds = ("linear", "scaled_linear", "squaredcos_cap_v2")
    kind = cfg.str_choice("beta_schedule", kinds, default=defaults[0])
    if kind == "squaredcos_cap_v2":  # Nichol and Dhariwal, 2021 (arXiv 2102.09672)
        times = np.arange(steps + 1) / steps
        product = np.cos((times + 0.008) / 1.008 * np.pi / 2) ** 2
        return np.minimum(1 - product[1:] / product[:-1], 0.999)
    start = cfg.number("beta_start", 1e-12, 0.9999, default=defaults[1])
    end = cfg.number("beta_end", start, 0.9999, default=defaults[2])
    if kind == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, steps) ** 2
    return np.linspace(start, end, steps)


def _zero_terminal_snr(betas: np.ndarray) -> np.ndarray:
    """The last timestep becomes pure noise. Lin et al., 2023 (arXiv 2305.08891), algorithm 1."""
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    product = root**2
    return 1 - np.concatenate([product[:1], product[1:] / product[:-1]])
