#!/usr/bin/env python3
"""What diffusers' schedulers make of the toy model of tests/images/scheduler_cases.py.

    python tools/make_scheduler_goldens.py

Needs torch and diffusers; the tests do not. The golden, tests/goldens/schedulers.npz, holds for
each case

    CASE.timesteps  float64, what the model is told at each call
    CASE.samples    float32 [calls, *SHAPE], the sample after each call
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import diffusers
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "images"))
from scheduler_cases import CASES, GOLDENS, Case, image, noise, toy_model


def timesteps_of(scheduler, case: Case) -> torch.Tensor:
    if case.tokens:
        from diffusers.pipelines.flux.pipeline_flux import calculate_shift

        sigmas = np.linspace(1.0, 1 / case.steps, case.steps)
        scheduler.set_timesteps(sigmas=sigmas, mu=calculate_shift(case.tokens))
    else:
        scheduler.set_timesteps(case.steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(case.first)
    return scheduler.timesteps[case.first :]


def walk(case: Case) -> dict[str, np.ndarray]:
    kind = getattr(diffusers, case.class_name)
    scheduler = kind.from_config({"_class_name": case.class_name, **case.config})
    module = importlib.import_module(kind.__module__)
    times = timesteps_of(scheduler, case)
    calls = 0
    module.randn_tensor = lambda shape, **_: torch.from_numpy(noise(1 + calls))
    start = torch.from_numpy(noise(0))
    if case.first:
        add = getattr(scheduler, "add_noise", None) or scheduler.scale_noise
        clean = torch.from_numpy(image())
        if add.__name__ == "add_noise":
            x = add(clean, start, times[:1])
        else:
            x = add(clean, times[:1], start)
    else:
        x = start * getattr(scheduler, "init_noise_sigma", 1.0)
    samples = []
    for t in times:
        seen = x
        if hasattr(scheduler, "scale_model_input"):
            seen = scheduler.scale_model_input(x, t)
        output = torch.from_numpy(toy_model(seen.numpy(), float(t)))
        x = scheduler.step(output, t, x, return_dict=False)[0]
        calls += 1
        samples.append(x.numpy().astype(np.float32))
    if not np.isfinite(samples).all():
        raise SystemExit(f"{case.id}: not finite")
    return {
        f"{case.id}.timesteps": times.numpy().astype(np.float64),
        f"{case.id}.samples": np.stack(samples),
    }


def main() -> None:
    arrays = {"made_by": np.array(f"diffusers {diffusers.__version__} torch {torch.__version__}")}
    for case in CASES:
        arrays |= walk(case)
    np.savez_compressed(GOLDENS, **arrays)
    print(f"{len(CASES)} walks, {GOLDENS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
