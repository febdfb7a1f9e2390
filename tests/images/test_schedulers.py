"""Every scheduler walks as diffusers' does, and refuses by name what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genfast.config import Fields
from genfast.errors import LoadError
from genfast.images import schedulers
from scheduler_cases import CASES, GOLDENS, Case, image, noise, toy_model

GOLDEN = np.load(GOLDENS)
DATA = Path(__file__).resolve().parents[2] / "../shared/data/configs/hf"


def walk(run: schedulers.Run) -> list[np.ndarray]:
    x = run.noised(run.first, image(), noise(0)) if run.first else run.initial(noise(0))
    samples = []
    for call, i in enumerate(range(run.first, len(run.timesteps))):
        output = toy_model(run.model_input(i, x), run.timesteps[i])
        x = run.step(i, x, output, lambda call=call: noise(1 + call))
        samples.append(x)
    return samples


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_walk_is_that_of_diffusers(case: Case):
    scheduler = schedulers.from_fields(
        Fields(case.config, "scheduler_config.json"), case.class_name
    )
    run = case.walk_of(scheduler, case.first)
    expected = GOLDEN[f"{case.id}.timesteps"]
    times = np.array(run.timesteps[run.first :])
    # Karras's timesteps come out of differences of logarithms of float32 in diffusers.
    np.testing.assert_allclose(times, expected, rtol=1e-5, atol=2e-3)
    samples = walk(run)
    assert len(samples) == len(expected)
    before, error = np.abs(run.initial(noise(0))).max(), 1e-5
    for ours, theirs in zip(samples, GOLDEN[f"{case.id}.samples"], strict=True):
        assert ours.dtype == np.float32
        size = max(1, np.abs(theirs).max())
        # Where a sample shrinks from thousands, the rounding of what it was stays in it.
        error = max(error, 8 * 2.0**-24 * before / size)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=error * size)
        before = np.abs(theirs).max()


def test_every_scheduler_has_walks():
    assert {case.class_name for case in CASES} == set(schedulers.CLASSES)
    assert {name for name, _ in schedulers.NAMES.values()} == set(schedulers.CLASSES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_image_does_not_depend_on_its_batch(case: Case):
    scheduler = schedulers.from_fields(
        Fields(case.config, "scheduler_config.json"), case.class_name
    )
    whole, alone = (case.walk_of(scheduler) for _ in range(2))
    x, y = whole.initial(noise(0)), alone.initial(noise(0)[1:])
    for i, t in enumerate(whole.timesteps):
        x = whole.step(i, x, toy_model(whole.model_input(i, x), t), lambda i=i: noise(i))
        y = alone.step(i, y, toy_model(alone.model_input(i, y), t), lambda i=i: noise(i)[1:])
        assert x[1:].tobytes() == y.tobytes()


@pytest.mark.parametrize(
    ("class_name", "config", "field"),
    [
        ("DDIMScheduler", {"thresholding": "yes"}, "thresholding"),
        ("DPMSolverMultistepScheduler", {"sample_max_value": 0.5}, "sample_max_value"),
        (
            "DDPMScheduler",
            {"thresholding": True, "dynamic_thresholding_ratio": 1.5},
            "dynamic_thresholding_ratio",
        ),
        ("DDPMScheduler", {"beta_schedule": "laplace"}, "beta_schedule"),
        ("DDPMScheduler", {"variance_type": "learned_range"}, "variance_type"),
        ("DDPMScheduler", {"num_train_timesteps": 0}, "num_train_timesteps"),
        ("DDPMScheduler", {"beta_start": 0.5, "beta_end": 0.1}, "beta_end"),
        ("DDPMScheduler", {"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ("PNDMScheduler", {"prediction_type": "sample"}, "prediction_type"),
        ("EulerDiscreteScheduler", {"use_beta_sigmas": True}, "use_beta_sigmas"),
        ("EulerDiscreteScheduler", {"sigma_min": 0.1}, "sigma_min"),
        (
            "EulerDiscreteScheduler",
            {"use_karras_sigmas": True, "use_exponential_sigmas": True},
            "use_exponential_sigmas",
        ),
        ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver"}, "algorithm_type"),
        ("DPMSolverMultistepScheduler", {"solver_order": 3}, "solver_order"),
        ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}, "use_lu_lambdas"),
        (
            "DPMSolverMultistepScheduler",
            {"use_exponential_sigmas": True},
            "use_exponential_sigmas",
        ),
        ("LCMScheduler", {"original_inference_steps": 2000}, "original_inference_steps"),
        ("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, "invert_sigmas"),
        ("FlowMatchEulerDiscreteScheduler", {"shift": "much"}, "shift"),
        ("HeunDiscreteScheduler", {}, "_class_name"),
        (7, {}, "_class_name"),
    ],
)
def test_bad_configs_name_the_field(tmp_path, class_name, config, field):
    file = tmp_path / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": class_name, **config}))
    with pytest.raises(LoadError) as caught:
        schedulers.read_scheduler(file)
    assert f"{file}: {field}: found" in str(caught.value)


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, True])
@pytest.mark.parametrize("name", schedulers.NAMES)
def test_bad_numbers_of_steps(name, steps):
    scheduler = schedulers.named(name, Fields({}, "scheduler_config.json"))
    with pytest.raises(ValueError, match=r"steps=.* is not allowed"):
        scheduler.run(steps)


def test_another_scheduler_keeps_the_noise_levels():
    fields = Fields({"beta_schedule": "scaled_linear", "beta_end": 0.012}, "scheduler_config.json")
    levels = [schedulers.named(name, fields).levels for name in ("ddim", "dpm++", "euler")]
    assert all(level.alphas.tobytes() == levels[0].alphas.tobytes() for level in levels)
    with pytest.raises(ValueError, match="scheduler='heun' is not allowed; allowed: None, 'ddpm'"):
        schedulers.named("heun", fields)


def test_one_step_has_no_end_to_stretch(tmp_path):
    """Its only σ is 1: nothing could be stretched to shift_terminal."""
    file = tmp_path / "scheduler_config.json"
    config = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift_terminal": 0.02}
    file.write_text(json.dumps({**config, "use_dynamic_shifting": True}))
    scheduler, _ = schedulers.read_scheduler(file)
    assert scheduler.run(1, tokens=64).sigmas == [1.0, 0.0]
    assert scheduler.run(4, tokens=64).sigmas[-2] == pytest.approx(0.02)


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the directory of real configs")
@pytest.mark.parametrize("name", ["sd-1-5", "sd-2-1-base", "sdxl-base", "ddpm-butterflies-128"])
def test_published_configs_are_accepted(name):
    scheduler, _ = schedulers.read_scheduler(DATA / name / "scheduler/scheduler_config.json")
    assert scheduler.run(20).timesteps[0] >= 949
