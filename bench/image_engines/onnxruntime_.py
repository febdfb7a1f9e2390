"""onnxruntime, by PyTorch's export to ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from image_engines.networks import network_of
from image_engines.timed import Timed
from image_engines.torch_ import traceable


def _exported(model: Path, work: Path) -> Path:
    return work / f"{model.name}-onnx" / "model.onnx"  # weights over 2 GB lie in files beside it


class Engine(Timed):
    FORMATS: ClassVar = {"f32": "f32"}

    @staticmethod
    def convert(model: Path, work: Path) -> None:
        import torch

        path = _exported(model, work)
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        module, example = traceable(model)
        names = list(network_of(model)[1].names)
        options = {"input_names": names, "opset_version": 17, "dynamo": False}
        with torch.inference_mode():
            # By name: a Path is taken for an open file, which 2 GB of weights do not go into.
            torch.onnx.export(module, example, str(path), **options)

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import onnxruntime as ort

        self._names = network_of(model)[1].names
        path = _exported(model, work)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(path, options, ["CPUExecutionProvider"])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return self._session.run(None, dict(zip(self._names, inputs, strict=True)))[0]
