"""Scheduler configs, and the toy model that walks are compared with; see
tools/make_scheduler_goldens.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/schedulers.npz"
SHAPE = (2, 2, 2, 3)
STEPS = 10
SD = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@dataclass(frozen=True)
class Case:
    """A walk: of scheduler `class_name`, from call `first` on. tokens: of the image, where Flux
    walks: evenly down to 1 / steps before the shift; 0: elsewhere."""

    id: str
    class_name: str
    config: dict
    steps: int = STEPS
    first: int = 0
    tokens: int = 0

    def walk_of(self, scheduler, first: int = 0):
        """The walk, by one of genfast's schedulers."""
        flux = {"tokens": self.tokens, "last": 1 / self.steps} if self.tokens else {}
        return scheduler.run(self.steps, first=first, **flux)


def _cases() -> list[Case]:
    cases = []

    def add(kind: str, name: str, config: dict, **more) -> None:
        cases.append(Case(f"{kind}-{name}", CLASS_NAMES[kind], config, **more))

    for kind in ("ddpm", "ddim", "pndm", "euler", "ancestral", "dpm", "lcm"):
        common = {"skip_prk_steps": True} if kind == "pndm" else {}
        common |= {} if kind in ("pndm", "ancestral", "euler", "dpm") else {"clip_sample": False}
        kinds = ["epsilon", "v_prediction"]
        kinds += ["sample"] if kind not in ("pndm", "ancestral") else []
        for prediction in kinds:
            add(kind, prediction, {**SD, **common, "prediction_type": prediction})
        if kind != "lcm":
            for spacing in ("leading", "trailing", "linspace"):
                offset = {"steps_offset": 1} if spacing == "leading" else {}
                add(kind, spacing, {**SD, **common, "timestep_spacing": spacing, **offset})
        add(kind, "defaults", {"skip_prk_steps": True} if kind == "pndm" else {})
        add(kind, "cosine", {**common, "beta_schedule": "squaredcos_cap_v2"})
        add(kind, "seven", {**SD, **common}, steps=7)
        add(kind, "image", {**SD, **common}, first=4)
        if kind != "pndm":
            zero = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
            spacing = {} if kind == "lcm" else {"timestep_spacing": "trailing"}
            add(kind, "zero-snr", {**SD, **common, **zero, **spacing})
    add("ddpm", "large", {"variance_type": "fixed_large"})
    add("ddpm", "butterflies", {"clip_sample": True, "variance_type": "fixed_small"}, steps=25)
    add("ddpm", "clip", {"clip_sample_range": 0.5})
    add("ddpm", "trained", {"num_train_timesteps": 20, "trained_betas": TRAINED})
    add("ddim", "clip", {"clip_sample_range": 0.5, "set_alpha_to_one": False})
    add("pndm", "runge-kutta", SD)
    add("pndm", "runge-kutta-v", {**SD, "prediction_type": "v_prediction"}, steps=13)
    add("pndm", "to-one", {**SD, "skip_prk_steps": True, "set_alpha_to_one": True})
    add("euler", "karras", {**SD, "use_karras_sigmas": True})
    add("euler", "exponential", {**SD, "use_exponential_sigmas": True})
    add("euler", "log-linear", {**SD, "interpolation_type": "log_linear"})
    add("euler", "sigma-min", {**SD, "final_sigmas_type": "sigma_min"})
    continuous = {"timestep_type": "continuous", "prediction_type": "v_prediction"}
    add("euler", "continuous", {**SD, **continuous})
    add("dpm", "karras", {**SD, "use_karras_sigmas": True})
    add("dpm", "karras-20", {**SD, "use_karras_sigmas": True}, steps=20)
    add("dpm", "first-order", {**SD, "solver_order": 1})
    add("dpm", "heun", {**SD, "solver_type": "heun", "final_sigmas_type": "sigma_min"}, steps=20)
    add("dpm", "sde", {**SD, "algorithm_type": "sde-dpmsolver++"})
    sde = {"algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "sigma_min"}
    add("dpm", "sde-heun", {**SD, **sde, "solver_type": "heun"})
    add("dpm", "euler-last", {**SD, "euler_at_final": True, "lower_order_final": False})
    clipped = {"lambda_min_clipped": -3.0, "beta_schedule": "squaredcos_cap_v2"}
    add("dpm", "clipped", {**SD, **clipped})
    add("lcm", "four", {"original_inference_steps": 40, "timestep_scaling": 3.0}, steps=4)
    thresholds = {"thresholding": True, "dynamic_thresholding_ratio": 0.8, "sample_max_value": 3.0}
    for kind in ("ddpm", "ddim", "dpm", "lcm"):
        add(kind, "threshold", {**SD, **thresholds})
    add("ddim", "threshold-one", {"thresholding": True, "prediction_type": "v_prediction"})
    add("flow", "plain", {})
    add("flow", "shift", {"shift": 3.0})
    add("flow", "image", {"shift": 3.0}, first=3)
    add("flow", "tokens", {"use_dynamic_shifting": True}, tokens=1024)
    add("flow", "schnell", {}, steps=4, tokens=1024)
    linear = {"use_dynamic_shifting": True, "time_shift_type": "linear"}
    add("flow", "linear", linear, tokens=600)
    add("flow", "terminal", {"shift": 3.0, "shift_terminal": 0.1})
    add("flow", "karras", {"use_karras_sigmas": True})
    add("flow", "stochastic", {"stochastic_sampling": True})
    return cases


CLASS_NAMES = {
    "ddpm": "DDPMScheduler",
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "euler": "EulerDiscreteScheduler",
    "ancestral": "EulerAncestralDiscreteScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "lcm": "LCMScheduler",
    "flow": "FlowMatchEulerDiscreteScheduler",
}
TRAINED = [round(0.01 + 0.02 * i, 3) for i in range(20)]
CASES = _cases()


def noise(step: int) -> np.ndarray:
    """The same for every case: 0 is what walks begin from, then one a step."""
    return np.random.RandomState(step).standard_normal(SHAPE).astype(np.float32)


def image() -> np.ndarray:
    """What walks that begin late change."""
    return np.random.RandomState(99).uniform(-1, 1, SHAPE).astype(np.float32)


def toy_model(x: np.ndarray, t: float) -> np.ndarray:
    """Smooth and bounded, so that it leads small differences on as they are."""
    phase = np.float32(np.sin(t / 300))
    return (np.tanh(np.float32(0.7) * x + phase) * np.float32(0.9)).astype(np.float32)
