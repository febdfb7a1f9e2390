"""DCGAN's generator: transposed convolutions, batch norms (folded into them at load), tanh.

Radford et al., 2015 (arXiv 1511.06434). Tensors are named as in PyTorch's tutorial (main.0, main.1,
main.3 …); the class, where the model is told one, stands one-hot behind the noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.images import noise
from genfast.images.graph import ImageGraph
from genfast.images.models._network import Network, one_hot
from genfast.images.weights import ImageWeights

EPS = 1e-5  # of PyTorch's batch norm


@dataclass(frozen=True)
class Config:
    latent_size: int
    classes: int | None
    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    paddings: tuple[int, ...]

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        channels = tuple(cfg.ints("channels", 1, 1 << 14))
        layers = {"kernel_sizes": (1, 64), "strides": (1, 16), "paddings": (0, 32)}
        found = {name: tuple(cfg.ints(name, *bounds)) for name, bounds in layers.items()}
        for name, values in found.items():
            if len(values) != len(channels):
                cfg.fail(name, f"{len(channels)} of them, one for each of channels")
        if channels[-1] not in (1, 3):
            cfg.fail("channels", "1 or 3 at the end, as of an image")
        config = cls(
            cfg.int("latent_size", 1, 1 << 16),
            cfg.int("num_classes", 1, 1 << 20, default=None),
            channels,
            *found.values(),
        )
        if config.side < 1:
            cfg.fail("paddings", "less: nothing is left of the image")
        return config

    @property
    def side(self) -> int:
        side = 1
        for kernel, stride, padding in zip(self.kernels, self.strides, self.paddings, strict=True):
            side = (side - 1) * stride - 2 * padding + kernel
            if side < 1:
                return 0
        return side


def record(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Input latents [N, latent_size + classes, 1, 1]; output images [N, C, S, S] in [-1, 1]."""
    x = g.image("latents", count, cfg.latent_size + (cfg.classes or 0), 1, 1)
    last = len(cfg.channels) - 1
    for i, outputs in enumerate(cfg.channels):
        scale = bias = None
        if i < last:
            scale, bias = _batch_norm(w, f"main.{3 * i + 1}", outputs)
        kernel = cfg.kernels[i]
        name = f"main.{3 * i}.weight"
        weight = w.conv_transpose(name, x.shape[1], outputs, kernel, scale=scale)
        x = g.conv_transpose2d(
            x,
            weight,
            bias,
            kernel=kernel,
            stride=cfg.strides[i],
            padding=cfg.paddings[i],
            activation="relu" if i < last else "tanh",
            name=f"main.{3 * i}",
        )
    g.output("images", x)


def _batch_norm(w: ImageWeights, name: str, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm multiplies by and adds, once trained."""
    weight, bias, mean, variance = (
        w.vector(f"{name}.{part}", sizes=[channels])
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + np.float32(EPS))
    return scale, bias - mean * scale


class DCGAN(Network):
    """A generator of `genfast.images.pipelines.gan`: points are latents, and classes one-hot."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "DCGAN", **options)
        self.config = Config.from_json(self.fields)

    def latents(self, seed: int, count: int, truncation: float | None) -> np.ndarray:
        limit = np.inf if truncation is None else truncation
        return noise.bounded(seed, (count, self.config.latent_size), limit)

    def points(self, latents: np.ndarray, labels: list[int], truncation=None) -> np.ndarray:
        if self.config.classes is None:
            return latents
        return np.concatenate([latents, one_hot(labels, self.config.classes)], axis=1)

    def between(self, first: np.ndarray, last: np.ndarray, part: float) -> np.ndarray:
        return noise.between(first, last, part, self.config.latent_size)

    def __call__(self, points: np.ndarray, truncation: float | None = None) -> np.ndarray:
        cfg, count = self.config, len(points)
        runner = self._runner(count, lambda g, w: record(g, w, cfg, count))
        return runner.run(latents=points[:, :, None, None])["images"]
