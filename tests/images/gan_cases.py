"""Tiny GANs of random weights; see tools/make_gan_goldens.py.

Names and shapes of tensors stand in the golden; the numbers are made again from names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/gans"
BIGGAN = {
    "output_dim": 16,
    "z_dim": 6,
    "class_embed_dim": 6,
    "channel_width": 8,
    "num_classes": 5,
    "layers": [[True, 16, 8], [True, 8, 4], [False, 4, 4], [False, 4, 2], [False, 2, 1]],
    "attention_layer_position": 2,
    "eps": 1e-4,
    "n_stats": 51,
}
STYLEGAN2 = {
    "z_dim": 12,
    "c_dim": 0,
    "w_dim": 10,
    "img_resolution": 16,
    "img_channels": 3,
    "channel_base": 256,
    "channel_max": 24,
    "num_mapping_layers": 3,
    "conv_clamp": None,
}


@dataclass(frozen=True)
class Case:
    name: str
    config: dict
    truncations: tuple[float, ...]
    labels: tuple[int, ...] | None = None  # None: the model knows no classes

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.name}.npz"

    @property
    def is_biggan(self) -> bool:
        return "channel_width" in self.config

    def latents(self) -> np.ndarray:
        return 1.5 * tiny_model.uniform(31, "latents", (2, self.config["z_dim"]))

    def tensors(self, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
        found = {n: _numbers(n, tuple(s), self.is_biggan) for n, s in shapes.items()}
        for name in list(found):
            if name.endswith("weight_orig"):
                left, right = _singular(found[name].reshape(len(found[name]), -1))
                found[name.replace("_orig", "_u")] = left
                found[name.replace("_orig", "_v")] = right
        return found

    def write(self, directory: Path, shapes: dict[str, list[int]]) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(self.config))
        file = directory / "model.safetensors"
        tiny_model.write_safetensors(file, self.tensors(shapes), "F32")
        return directory


def _numbers(name: str, shape: tuple[int, ...], biggan: bool) -> np.ndarray:
    u = tiny_model.uniform(31, name, shape)
    if name.endswith("resample_filter"):
        taps = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32)
        taps[0] *= 2  # so that it matters which way round it is
        return taps / taps.sum()
    if name.endswith("running_vars"):
        return 1 + u / 2
    if name.endswith("bn.weight") or name.endswith("affine.bias"):
        return 1 + u / 2
    if biggan:
        return u if len(shape) > 1 else u / 2
    if ".fc" in name and name.endswith("weight"):
        return 170 * u  # the mapping's are stored divided by its rate of learning
    if name.endswith("noise_strength"):
        return u * 0 + 0.3
    return 1.7 * u if len(shape) > 1 else u / 2


def _singular(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What training holds beside a weight: nearly its first singular vectors."""
    left = np.ones(len(matrix))
    for _ in range(3):
        right = left @ matrix
        right /= np.linalg.norm(right)
        left = matrix @ right
        left /= np.linalg.norm(left)
    return left.astype(np.float32), right.astype(np.float32)


CASES = [
    Case("biggan", BIGGAN, (0.4, 0.37, 1.0), (3, 0)),
    Case("stylegan2", STYLEGAN2, (1.0, 0.6)),
    Case(
        "stylegan2-classes",
        {**STYLEGAN2, "c_dim": 4, "img_channels": 1, "conv_clamp": 1.0},
        (0.7,),
        (3, 0),
    ),
]
