"""PyTorch through diffusers, and what it makes for the others: random weights and exports."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from image_engines.networks import network_of
from image_engines.timed import Timed


def save_random(config: dict, directory: Path) -> None:
    """A model with PyTorch's initial weights, in bfloat16."""
    import diffusers
    import torch

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    getattr(diffusers, config["_class_name"]).from_config(config).save_pretrained(directory)


def opened(model: Path, kind: str = "float32"):
    import diffusers
    import torch

    opener = getattr(diffusers, network_of(model)[0])
    return opener.from_pretrained(model, torch_dtype=getattr(torch, kind)).eval()


def traceable(model: Path):
    """For exporters: a module of tensors -> a tensor, and an example of them."""
    import torch

    network, opener = opened(model), network_of(model)[1]

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs):
            return opener.torch(self.network, *inputs)

    example = opener.inputs(dict(network.config), np.random.default_rng(0))
    return Plain().eval(), tuple(torch.tensor(x) for x in example)


class Engine(Timed):
    FORMATS: ClassVar = {"f32": "f32", "bf16": "bf16"}

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import torch

        torch.set_num_threads(threads)
        self._type = {"f32": torch.float32, "bf16": torch.bfloat16}[fmt]
        self._network = network_of(model)[1]
        self._model = opened(model, {"f32": "float32", "bf16": "bfloat16"}[fmt])

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        import torch

        tensors = [torch.tensor(x) for x in inputs]
        tensors = [x.to(self._type) if x.is_floating_point() else x for x in tensors]
        with torch.inference_mode():
            return self._network.torch(self._model, *tensors).float().numpy()
