"""What networks have in common: a directory, weights packed once, a program for each size."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genfast.adapters import Adapters
from genfast.checkpoint import Checkpoint
from genfast.config import Fields, read_object
from genfast.images.graph import ImageGraph
from genfast.images.lora import Lora
from genfast.images.runner import Runner
from genfast.images.weights import ImageWeights

_KEPT = 8  # sizes whose programs, and memory, are kept: those of an image's tiles, and some more


class Network:
    """A directory of diffusers: config.json and the tensors of one class.

    class_names: what the config may call it, the name it has now first. dtype, quantize,
    winograd: as in `genfast.load`. threads: 0 for all. isa: as in `genfast.ops`.
    loras: that are merged into the weights, each with the name that it knows this component by.
    opened: how the tensors are read.
    """

    def __init__(
        self,
        directory: Path | str,
        *class_names: str,
        dtype: str = "auto",
        quantize: str | None = None,
        threads: int = 0,
        isa: str = "",
        progress: bool = False,
        winograd: bool = False,
        loras: Sequence[tuple[str, Lora]] = (),
        opened: type[Checkpoint] = Checkpoint,
    ) -> None:
        file = Path(directory) / "config.json"
        self.fields = Fields(read_object(file), file)
        self.fields.str_choice("_class_name", class_names, default=class_names[0])
        checkpoint = opened(directory)
        layers = self.fields.values.get("layers_per_block")
        layers = layers if isinstance(layers, int) else 2
        self._weights = ImageWeights(
            checkpoint,
            dtype=dtype,
            quantize=quantize,
            threads=threads,
            progress=progress,
            winograd=winograd,
            adapters=Adapters((lora.of(n, checkpoint, layers) for n, lora in loras), checkpoint),
        )
        self._threads, self._isa = threads, isa
        self._runners: dict[Any, Runner] = {}  # the last used last
        self._lock = threading.Lock()

    def _runner(self, key: Any, record: Callable[[ImageGraph, ImageWeights], None]) -> Runner:
        """What `record` recorded for these sizes: kept, so that a loop of steps records once."""
        with self._lock:
            runner = self._runners.pop(key, None)
            if runner is None:
                graph = ImageGraph()
                record(graph, self._weights)
                runner = Runner(graph, threads=self._threads, isa=self._isa)
            self._runners[key] = runner
            while len(self._runners) > _KEPT:
                del self._runners[next(iter(self._runners))]
        return runner

    def release(self) -> None:
        """Lets go of the memory of all sizes run so far; the weights stay."""
        self._runners.clear()


def per_item(value: Any, count: int) -> np.ndarray:
    """A number for each item, of one for all or of as many: float32 [count]."""
    numbers = np.asarray(value, np.float32).reshape(-1)
    if len(numbers) not in (1, count):
        raise ValueError(f"found {len(numbers)} timesteps for {count} images")
    return np.ascontiguousarray(np.broadcast_to(numbers, count))


def one_hot(labels: Sequence[int], classes: int) -> np.ndarray:
    """float32 [N, classes]: 1 at an item's class, else 0."""
    found = np.zeros((len(labels), classes), np.float32)
    found[np.arange(len(labels)), labels] = 1
    return found


def timestep_embedding(
    timesteps: np.ndarray,
    size: int,
    *,
    flip_sin_to_cos: bool = True,
    freq_shift: float = 0,
    max_period: float = 10000,
) -> np.ndarray:
    """Sines and cosines of timesteps [N] at `size` / 2 frequencies: float32 [N, size].

    Ho et al., 2020 (arXiv 2006.11239); upstream: diffusers' get_timestep_embedding, whose order of
    float32 roundings this keeps.
    """
    half = size // 2
    exponent = np.float32(-np.log(max_period)) * np.arange(half, dtype=np.float32)
    frequencies = np.exp(exponent / np.float32(half - freq_shift))
    angles = np.asarray(timesteps, np.float32)[:, None] * frequencies
    parts = (
        [np.cos(angles), np.sin(angles)] if flip_sin_to_cos else [np.sin(angles), np.cos(angles)]
    )
    out = np.zeros((len(angles), size), np.float32)
    out[:, : 2 * half] = np.concatenate(parts, axis=1)
    return out
