"""Engines that `bench/images.py` compares on a network (networks.py), each behind one method.

Engine(model, fmt, threads, work)   opens diffusers' directory `model` in `fmt`, one of the
                                    class's FORMATS; what it converts lies in `work`, once
forward(*inputs) -> float32 [1, C, H, W]
"""

from __future__ import annotations

from engines import Origin

_TORCH = ("torch", "diffusers")
ENGINES = {
    "torch": Origin("image_engines.torch_", _TORCH, "pip install torch diffusers"),
    "genfast": Origin("image_engines.genfast_", ("genfast",), "pip install ."),
    "OpenVINO": Origin(
        "image_engines.openvino_", (*_TORCH, "openvino"), "pip install openvino torch diffusers"
    ),
    "onnxruntime": Origin(
        "image_engines.onnxruntime_",
        (*_TORCH, "onnxruntime", "onnx"),
        "pip install onnxruntime onnx torch diffusers",
    ),
}
