"""The bundled gallery: four tiny models of 8×8 digits, a kind each; see tools/train_gallery.py.

Diffusion (a UNet, DDPM), codes drawn by a transformer (ImageGPT), a GAN (DCGAN), and the VQ-VAE
that the codes belong to, which alone makes known digits again.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import numpy as np

from genfast.images.directory import LoadOptions, open_pipeline

KINDS = ("ddpm", "imagegpt", "gan")
CLASSES = 10


def path(name: str) -> Path:
    """The directory of a kind; `genfast.load` opens it."""
    if name not in KINDS:
        raise ValueError(f"name={name!r} is not allowed; allowed: {', '.join(map(repr, KINDS))}")
    return Path(str(importlib.resources.files("genfast") / "data" / "gallery" / name))


def digits(name: str, per_class: int, seed: int, threads: int = 0) -> np.ndarray:
    """float32 [10 · per_class, 8, 8] in [0, 1] of one kind, `per_class` of each digit in turn."""
    with open_pipeline(path(name), LoadOptions(threads=threads)) as pipeline:
        options: dict[str, Any] = {"steps": 25} if name == "ddpm" else {}
        made = pipeline.generate(
            range(CLASSES), n=per_class, seed=seed, output_type="np", **options
        )
    return made.images[..., 0]


def known(threads: int = 0) -> np.ndarray:
    """What the VQ-VAE makes of the codes of one digit of each class: float32 [10, 8, 8]."""
    with open_pipeline(path("imagegpt"), LoadOptions(threads=threads)) as pipeline:
        pixels = pipeline.decode(pipeline.config["examples"])
    return np.clip(pixels[:, 0] * np.float32(0.5) + np.float32(0.5), 0, 1)


def sheet(seed: int = 0, *, per_class: int = 2, scale: int = 4, threads: int = 0) -> np.ndarray:
    """All four side by side, uint8 [rows, columns]: a column a digit; rows of DDPM, of ImageGPT and
    of the GAN, `per_class` each, and one of the VQ-VAE."""
    parts = [digits(name, per_class, seed, threads) for name in KINDS]
    parts = [part.reshape(CLASSES, per_class, 8, 8) for part in parts]
    parts.append(known(threads).reshape(CLASSES, 1, 8, 8))
    rows = np.concatenate(parts, axis=1)  # [digit, row, 8, 8]
    framed = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1)))
    image = framed.transpose(1, 2, 0, 3).reshape(rows.shape[1] * 10, CLASSES * 10)
    large = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return np.round(large * np.float32(255)).astype(np.uint8)
