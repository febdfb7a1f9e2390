"""The loop of diffusion: a denoiser asked once a step, a scheduler that walks by its answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genfast.config import Fields
from genfast.images import noise, schedulers
from genfast.images.options import MAX_SIDE, Options, refuse
from genfast.images.pipelines.base import ImagePipeline, Watch
from genfast.images.result import from_input

Predict = Callable[[np.ndarray, float], np.ndarray]  # sample, timestep → the model's answer


@dataclass(frozen=True)
class Task:
    """What a prompt came to. shape: of the samples; predict: of the whole batch, guided."""

    shape: tuple[int, int, int, int]
    predict: Predict


class Diffusion(ImagePipeline):
    """steps, strength: when `generate` is told none. downscale: pixels a side of a sample's
    element. blends: what a mask keeps is put back after each step; else the model is told of it."""

    steps = 50
    strength = 0.8
    blends = True
    downscale = 1
    pixel_channels = 3

    def __init__(
        self, path: Path, config: dict[str, Any], scheduler: schedulers.Scheduler, fields: Fields
    ) -> None:
        super().__init__(path, config)
        self.scheduler, self._scheduler_fields = scheduler, fields

    @abstractmethod
    def _task(self, prompt: Any, options: Options) -> Task:
        """Reads the prompt and the size; ValueError for what the model cannot do."""

    def _encode(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """Samples of pixels, without noise."""
        return pixels

    def _generate(self, prompt: Any, options: Options, seed: int, watch: Watch) -> np.ndarray:
        task = self._task(prompt, options)
        steps = self.steps if options.steps is None else options.steps
        scheduler = self._scheduler(options.scheduler)
        run = self._run(scheduler, steps, 0, task.shape)
        if options.image is not None:
            calls = len(run.timesteps)
            strength = self.strength if options.strength is None else options.strength
            kept = calls - min(int(calls * strength), calls)
            if kept == calls:
                refuse("strength", strength, f"enough for one of {calls} steps")
            run = self._run(scheduler, steps, kept, task.shape)
        return self._pixels(self._walk(task, run, options, seed, watch))

    def _walk(
        self, task: Task, run: schedulers.Run, options: Options, seed: int, watch: Watch
    ) -> np.ndarray:
        start = self._start(task.shape, options, seed)
        known = mask = None
        if options.image is not None and (self.blends or run.first):
            known = self._known(task.shape, options, seed)
            x = run.noised(run.first, known, start)
        else:
            x = run.initial(start)
        if self.blends:
            mask = self._mask(task.shape, options)
        watch.begin(len(run.timesteps) - run.first)
        for i in range(run.first, len(run.timesteps)):
            output = task.predict(run.model_input(i, x), run.timesteps[i])
            x = run.step(i, x, output, lambda i=i: noise.batch(seed, 1 + i, task.shape))
            if mask is not None:  # what is not to change is what it was, as noisy as the rest
                x = x * mask + run.noised(i + 1, known, start) * (1 - mask)
            watch.step(x)
        return x

    def _scheduler(self, name: str | None) -> schedulers.Scheduler:
        """The directory's, or another by name."""
        if name is None:
            return self.scheduler
        return schedulers.named(name, self._scheduler_fields)

    def _run(
        self, scheduler: schedulers.Scheduler, steps: int, first: int, shape: tuple[int, ...]
    ) -> schedulers.Run:
        """The walk of samples of `shape` from call `first` on."""
        return scheduler.run(steps, first=first)

    def _start(self, shape: tuple[int, ...], options: Options, seed: int) -> np.ndarray:
        """Noise of the seed, or the latents that were given."""
        if options.latents is None:
            return noise.batch(seed, noise.INITIAL, shape)
        latents = np.asarray(options.latents, np.float32)
        if latents.shape != shape:
            raise ValueError(f"latents has shape {list(latents.shape)}; allowed: {list(shape)}")
        return np.ascontiguousarray(latents)

    def _known(self, shape: tuple[int, ...], options: Options, seed: int) -> np.ndarray:
        """The picture that is to change, as samples."""
        known = self._encode(self._picture(shape, options), seed)
        return np.ascontiguousarray(np.broadcast_to(known, (shape[0], *known.shape[1:])))

    def _picture(self, shape: tuple[int, ...], options: Options) -> np.ndarray:
        """Its pixels, [N or 1, C, H, W]."""
        height, width = shape[2] * self.downscale, shape[3] * self.downscale
        pixels = from_input(options.image, "image", self.pixel_channels, height, width)
        if len(pixels) not in (1, shape[0]):
            raise ValueError(f"image holds {len(pixels)} images; allowed: 1 or {shape[0]}")
        return pixels

    def _white(self, shape: tuple[int, ...], options: Options) -> np.ndarray:
        """The pixels that are made anew, [N or 1, 1, H, W]."""
        height, width = shape[2] * self.downscale, shape[3] * self.downscale
        white = from_input(options.mask, "mask", 1, height, width) >= 0
        if len(white) not in (1, shape[0]):
            raise ValueError(f"mask holds {len(white)} images; allowed: 1 or {shape[0]}")
        return white

    def _mask(self, shape: tuple[int, ...], options: Options) -> np.ndarray | None:
        """1 where a sample is made anew, [N or 1, 1, H, W]."""
        if options.mask is None:
            return None
        step = self.downscale
        return self._white(shape, options)[:, :, ::step, ::step].astype(np.float32)


def sides(
    options: Options, height: int, width: int, multiple: int, most: int = MAX_SIDE
) -> tuple[int, int]:
    """Height and width in pixels: as asked for, else those given here; a multiple, up to `most`."""
    found = []
    for name, usual in (("height", height), ("width", width)):
        value = getattr(options, name)
        value = usual if value is None else value
        if value % multiple or value > most:
            up_to = f", up to {most}" if most < MAX_SIDE else ""
            refuse(name, value, f"a multiple of {multiple}{up_to}")
        found.append(value)
    return found[0], found[1]


def guided(output: np.ndarray, scale: float) -> np.ndarray:
    """Of a batch whose first half is told nothing (or what to avoid) and whose second the prompt.

    Ho and Salimans, 2022 (arXiv 2207.12598).
    """
    without, told = np.split(output, 2)
    return without + np.float32(scale) * (told - without)
