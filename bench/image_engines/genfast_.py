"""genfast itself."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

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
        from genfast.images.models.unet2d_condition import UNet2DConditionModel

        self._model = UNet2DConditionModel(model, threads=threads, **_OPTIONS[fmt])

    def forward(self, sample: np.ndarray, timestep: int, text: np.ndarray) -> np.ndarray:
        return self._model(sample, timestep, text)
