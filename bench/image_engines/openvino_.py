"""OpenVINO, by its own converter from PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from image_engines.timed import Timed
from image_engines.torch_ import traceable


class Engine(Timed):
    FORMATS: ClassVar = {"f32": "f32", "bf16": "bf16 where the CPU has it"}

    @staticmethod
    def convert(model: Path, work: Path) -> None:
        import openvino as ov
        import torch

        path = work / f"{model.name}.xml"
        if path.exists():
            return
        module, example = traceable(model)
        with torch.inference_mode():
            converted = ov.convert_model(module, example_input=example)
        shapes = [list(x.shape) for x in example]
        converted.reshape(dict(zip(converted.inputs, shapes, strict=True)))
        ov.save_model(converted, path, compress_to_fp16=False)

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import openvino as ov

        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": fmt,
        }
        self._model = ov.Core().compile_model(work / f"{model.name}.xml", "CPU", options)

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return self._model(list(inputs))[0]
