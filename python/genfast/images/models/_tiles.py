"""A large image in parts: each is computed alone, and where two overlap they are blended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def in_tiles(
    compute: Callable[[np.ndarray], np.ndarray], x: np.ndarray, tile: int, scale: int
) -> np.ndarray:
    """compute(x) for x [N, C, H, W], which returns scale · H by scale · W pixels, tile by tile.

    Tiles of `tile` by `tile` overlap by a quarter at least; there the weight of the one falls in a
    straight line as that of the other rises.
    """
    if tile < 4:
        raise ValueError(f"tile={tile} must be at least 4")
    tops, lefts = (_starts(side, tile) for side in x.shape[2:])
    total = weight = None
    for top in tops:
        for left in lefts:
            part = compute(np.ascontiguousarray(x[:, :, top : top + tile, left : left + tile]))
            height, width = part.shape[2:]
            if total is None:
                size = (scale * x.shape[2], scale * x.shape[3])
                total = np.zeros((*part.shape[:2], *size), np.float32)
                weight = np.zeros(size, np.float32)
            ramp = np.minimum.outer(_ramp(height, tile * scale), _ramp(width, tile * scale))
            rows = slice(top * scale, top * scale + height)
            cols = slice(left * scale, left * scale + width)
            total[:, :, rows, cols] += part * ramp
            weight[rows, cols] += ramp
    return total / weight


def _starts(side: int, tile: int) -> list[int]:
    """Where tiles begin, the last one at the end."""
    if side <= tile:
        return [0]
    step = tile - tile // 4
    return [*range(0, side - tile, step), side - tile]


def _ramp(side: int, tile: int) -> np.ndarray:
    """Weights that rise over a quarter of a tile and fall over the last; never zero."""
    steps = np.arange(1, side + 1, dtype=np.float32)
    return np.minimum(np.minimum(steps, steps[::-1]), max(1, tile // 4))
