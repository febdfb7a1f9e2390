"""The quantised formats once more, in numpy: what csrc/quant must do, written independently."""

from __future__ import annotations

import numpy as np

GROUP = 32


def bfloat16(x: np.ndarray) -> np.ndarray:
    """x rounded to bfloat16, as float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


def symmetric8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q int64 [M, K] in [-127, 127] and scale float32 [M, 1] with rows ~ q * scale."""
    largest = np.abs(rows).max(-1, keepdims=True).astype(np.float32)
    alive = largest >= np.float32(1e-30)
    safe = np.where(alive, largest, np.float32(1))
    inverse = np.where(alive, np.float32(127) / safe, np.float32(0))
    scale = np.where(alive, largest / np.float32(127), np.float32(0))
    return np.rint(rows * inverse).astype(np.int64), scale


def group_sums(q: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each group's share [M, N, G] of q [M, K] @ weights [N, K].T, in float64."""
    N, K = weights.shape
    groups = -(-K // GROUP)
    pad = groups * GROUP - K
    w = np.pad(weights.astype(np.float64), ((0, 0), (0, pad))).reshape(N, groups, GROUP)
    x = np.pad(q, ((0, 0), (0, pad))).reshape(len(q), groups, GROUP)
    return np.einsum("mgk,ngk->mng", x.astype(np.float64), w)
