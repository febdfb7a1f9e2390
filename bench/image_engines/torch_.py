"""PyTorch through diffusers, and what it makes for the others: random weights and exports."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from image_engines.timed import Timed


def save_random(config: dict, directory: Path) -> None:
    """A model with PyTorch's initial weights, in bfloat16."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    UNet2DConditionModel.from_config(config).save_pretrained(directory)


def opened(model: Path, kind: str = "float32"):
    import torch
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(model, torch_dtype=getattr(torch, kind)).eval()


def traceable(model: Path):
    """For exporters: a module of three tensors -> a tensor, and an example of them."""
    import torch

    network = opened(model)

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, sample, timestep, text):
            return self.network(sample, timestep, text, return_dict=False)[0]

    c = network.config
    side = c.sample_size
    sample = torch.zeros(1, c.in_channels, side, side)
    return Plain().eval(), (sample, torch.tensor(1), torch.zeros(1, 77, c.cross_attention_dim))


class Engine(Timed):
    FORMATS: ClassVar = {"f32": "f32", "bf16": "bf16"}

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import torch

        torch.set_num_threads(threads)
        self._type = {"f32": torch.float32, "bf16": torch.bfloat16}[fmt]
        self._model = opened(model, {"f32": "float32", "bf16": "bfloat16"}[fmt])

    def forward(self, sample: np.ndarray, timestep: int, text: np.ndarray) -> np.ndarray:
        import torch

        sample, text = (torch.tensor(x).to(self._type) for x in (sample, text))
        with torch.inference_mode():
            return self._model(sample, timestep, text).sample.float().numpy()
