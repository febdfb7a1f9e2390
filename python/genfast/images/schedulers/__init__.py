"""Schedulers: from noise to an image, one model call at a time. See `run.Run`.

A scheduler is what its scheduler_config.json says and never changes; `run(steps)` starts a walk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from genfast.config import Fields, read_object
from genfast.images.schedulers.ancestral import DDIM, DDPM
from genfast.images.schedulers.dpm_solver import DPMSolver
from genfast.images.schedulers.euler import Euler, EulerAncestral
from genfast.images.schedulers.flow import FlowEuler
from genfast.images.schedulers.lcm import LCM
from genfast.images.schedulers.pndm import PNDM
from genfast.images.schedulers.run import Draw, Run

__all__ = ["CLASSES", "NAMES", "Draw", "Run", "Scheduler", "from_fields", "named", "read_scheduler"]


class Scheduler(Protocol):
    def run(self, steps: int, *, first: int = 0) -> Run:
        """A walk of `steps` steps; first: the call to begin at. ValueError for a number of steps
        the scheduler cannot do."""


CLASSES: dict[str, Any] = {
    "DDPMScheduler": DDPM,
    "DDIMScheduler": DDIM,
    "PNDMScheduler": PNDM,
    "EulerDiscreteScheduler": Euler,
    "EulerAncestralDiscreteScheduler": EulerAncestral,
    "DPMSolverMultistepScheduler": DPMSolver,
    "LCMScheduler": LCM,
    "FlowMatchEulerDiscreteScheduler": FlowEuler,
}

# For `generate(scheduler=…)`: the class, and fields that are set whatever the file says.
NAMES: dict[str, tuple[str, dict[str, Any]]] = {
    "ddpm": ("DDPMScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++": ("DPMSolverMultistepScheduler", {}),
    "dpm++_karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "lcm": ("LCMScheduler", {}),
    "flow_euler": ("FlowMatchEulerDiscreteScheduler", {}),
}


def read_scheduler(file: Path) -> tuple[Scheduler, Fields]:
    """The scheduler of a scheduler_config.json, and its fields; LoadError for a bad one."""
    fields = Fields(read_object(file), file)
    return from_fields(fields, fields.str_choice("_class_name", CLASSES)), fields


def from_fields(fields: Fields, class_name: str) -> Scheduler:
    return CLASSES[class_name].from_json(fields)


def named(name: str, fields: Fields) -> Scheduler:
    """One of NAMES with the noise levels that `fields` tells; ValueError for another name."""
    if name not in NAMES:
        raise ValueError(
            f"scheduler={name!r} is not allowed; allowed: None, {', '.join(map(repr, NAMES))}"
        )
    class_name, fixed = NAMES[name]
    return from_fields(Fields({**fields.values, **fixed}, fields.file), class_name)
