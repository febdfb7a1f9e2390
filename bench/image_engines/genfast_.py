"""genfast itself."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import ClassVar

import numpy as np

from image_engines.networks import network_of
from image_engines.timed import Timed

_OPTIONS = {
    "f32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"dtype": "bfloat16", "quantize": "int8"},
}
_OPTIONS |= {f"{fmt}-winograd": options | {"winograd": True} for fmt, options in _OPTIONS.items()}


class Engine(Timed):
    FORMATS: ClassVar = dict.fromkeys(_OPTIONS)

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        name, self._network = network_of(model)
        opener = getattr(importlib.import_module(self._network.module), name)
        self._model = opener(model, threads=threads, **_OPTIONS[fmt])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return self._network.genfast(self._model, *inputs)
