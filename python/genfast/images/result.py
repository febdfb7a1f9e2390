"""What `generate` gives, and images on their way in and out: pixels in [-1, 1], [N, C, H, W]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageResult:
    """images: a list of PIL images, or float32 [N, H, W, C] in [0, 1] (output_type="np").

    seed: what would make them again. finish_reason: "stop", or "cancelled" where the callback
    returned False, and images are what there was. seconds: spent computing.
    """

    images: Any
    seed: int
    finish_reason: str
    steps: int
    seconds: float


def to_output(pixels: np.ndarray, output_type: str) -> Any:
    """[N, C, H, W] in [-1, 1], clipped → what `ImageResult.images` holds."""
    unit = np.clip(pixels.transpose(0, 2, 3, 1) * np.float32(0.5) + np.float32(0.5), 0, 1)
    if output_type == "np":
        return np.ascontiguousarray(unit)
    bytes_ = np.round(unit * np.float32(255)).astype(np.uint8)
    pil = pillow()
    return [pil.fromarray(x[:, :, 0] if x.shape[2] == 1 else x) for x in bytes_]


def pillow() -> Any:
    """PIL.Image; ImportError that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            "images as PIL objects need Pillow: pip install 'genfast[images]', or ask for arrays "
            'with output_type="np"'
        ) from None
    return Image


def from_input(image: Any, name: str, channels: int, height: int, width: int) -> np.ndarray:
    """A PIL image (or path's contents), or an array [H, W, C] or [N, H, W, C] in [0, 1], as pixels
    [N, C, height, width] in [-1, 1]; a PIL image is resized, an array must have the size."""
    if hasattr(image, "convert"):  # PIL, without importing it
        image = image.convert("L" if channels == 1 else "RGB").resize((width, height))
        image = np.asarray(image, np.float32) / np.float32(255)
    array = np.asarray(image, np.float32)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[1:] != (height, width, channels):
        raise ValueError(
            f"{name} has shape {list(np.shape(image))}; allowed: a PIL image, or an array "
            f"[{height}, {width}, {channels}] in [0, 1], or several of them"
        )
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise ValueError(f"{name} holds numbers outside of [0, 1]")
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) * np.float32(2) - np.float32(1)
