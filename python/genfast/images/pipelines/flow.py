"""Text to image by flow matching: a transformer over latents that tells velocities."""

from __future__ import annotations

from genfast.images import schedulers
from genfast.images.directory import Index
from genfast.images.options import refuse
from genfast.images.pipelines.text import TextDiffusion
from genfast.images.schedulers.flow import FlowEuler


class FlowDiffusion(TextDiffusion):
    """transformer: the denoiser, which subclasses open."""

    parts = ("transformer", "vae", "encoders")

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        if not isinstance(self.scheduler, FlowEuler):
            expected = '"FlowMatchEulerDiscreteScheduler": this model tells velocities'
            self._scheduler_fields.fail("_class_name", expected)

    def _scheduler(self, name: str | None) -> schedulers.Scheduler:
        if name not in (None, "flow_euler"):
            refuse("scheduler", name, "None, 'flow_euler': this model tells velocities")
        return self.scheduler
