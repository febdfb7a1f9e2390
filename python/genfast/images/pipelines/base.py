"""What all pipelines share: `generate`, a bar on a terminal, cancelling, closing."""

from __future__ import annotations

import logging
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genfast.images.options import Options, Step
from genfast.images.result import ImageResult, to_output

log = logging.getLogger("genfast")


class Cancelled(Exception):
    """The callback wants no more. sample: what there is."""

    def __init__(self, sample: np.ndarray) -> None:
        super().__init__("cancelled")
        self.sample = sample


class Watch:
    """Tells the callback of steps, and shows a bar on a terminal once a second has passed."""

    def __init__(self, callback: Callable[[Step], Any] | None) -> None:
        self.callback, self.steps, self.done = callback, 0, 0
        self._bar = None

    def begin(self, steps: int) -> None:
        """So many steps are to come."""
        self.steps = steps
        if sys.stderr is not None and sys.stderr.isatty():
            from tqdm import tqdm  # here, as it starts a thread of its own

            self._bar = tqdm(desc="generating", total=steps, unit="step", delay=1, leave=False)

    def step(self, sample: np.ndarray) -> None:
        """One step is done. Raises Cancelled where the callback answers False."""
        self.done += 1
        if self._bar is not None:
            self._bar.update(1)
        if self.callback is not None:
            answer = self.callback(Step(self.done - 1, self.steps, sample))
            if answer is False:
                raise Cancelled(sample)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class ImagePipeline(ABC):
    """A loaded image model; made by `genfast.load`.

    config: the parsed model_index.json or config.json. Calls from several threads take turns
    inside each model; the GIL is released while it computes.
    """

    parts: tuple[str, ...] = ()  # attributes that hold the models

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config

    def generate(self, prompt: Any = None, **options: Any) -> ImageResult:
        """Makes images.

        prompt: what to show, as the model takes it: a text, a class (its number or name), or a list
        of either, an image each; None where it is told nothing. n: images of each prompt.
        negative_prompt, guidance_scale: away from the first, and how strongly (classifier-free
        guidance, both halves in one batch). steps: of the scheduler. scheduler: another one than
        the directory's ("ddim", "dpm++_karras" …). height, width: in pixels. seed: 0 to 2^64 - 1;
        the same gives the same image, to the bit, whatever else is in the batch. latents: what to
        begin with instead of noise of the seed. image, strength: what to change, and how much of
        it (0 to 1); mask: the part to change (white). truncation: of a GAN's latents. temperature
        (1), top_k, top_p: how a model of codes draws them. output_type: "pil", or "np" for float32
        [N, H, W, C] in [0, 1]. callback: is told each `Step`, and ends the run by answering False.

        ValueError for a keyword that is wrong or that this model has no use for.
        """
        chosen = Options.make(options)
        return self._result(lambda *rest: self._generate(prompt, chosen, *rest), chosen)

    def _result(self, make: Callable[[int, Watch], np.ndarray], options: Options) -> ImageResult:
        """What `make` makes of a seed, watched and timed."""
        seed = options.seed_or_new()
        start = time.perf_counter()
        watch = Watch(options.callback)
        reason = "stop"
        try:
            pixels = make(seed, watch)
        except Cancelled as stopped:
            reason, pixels = "cancelled", self._pixels(stopped.sample)
        finally:
            watch.close()
        images = to_output(pixels, options.output_type)
        seconds = time.perf_counter() - start
        log.info("%d images in %.2f s, %d steps, seed %d", len(images), seconds, watch.done, seed)
        return ImageResult(images, seed, reason, watch.done, seconds)

    @abstractmethod
    def _generate(self, prompt: Any, options: Options, seed: int, watch: Watch) -> np.ndarray:
        """Pixels [N, C, H, W] in about [-1, 1]."""

    def _pixels(self, sample: np.ndarray) -> np.ndarray:
        """The pixels of what a step left."""
        return sample

    def close(self) -> None:
        """Frees the memory; may be called again."""
        for name in self.parts:
            self.__dict__.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        if name in type(self).parts:
            raise RuntimeError(f"this pipeline ({self.__dict__.get('path')}) is closed")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __enter__(self) -> ImagePipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<genfast.{type(self).__name__} {self.path}>"
