"""The quantised formats once more, in numpy: what csrc/quant must do, written independently."""

from __future__ import annotations

import numpy as np

GROUP = 32


def bfloat16(x: np.ndarray) -> np.ndarray:
    """x rounded to bfloat16, as float32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


# By byte the numbers of E4M3, from its definition: a sign, four bits of exponent with bias 7, three
# bits of mantissa; all ones is NaN.
E4M3 = np.array(
    [
        (-1) ** (n >> 7)
        * 2.0 ** max((n >> 3 & 15) - 7, -6)
        * (float(n >> 3 & 15 > 0) + (n & 7) / 8)
        for n in range(256)
    ]
)
E4M3[[0x7F, 0xFF]] = np.nan


def e4m3(x: np.ndarray) -> np.ndarray:
    """The nearest of E4M3's numbers, of two the one whose byte is even; at most 448. In float64."""
    sizes, size = E4M3[:0x7F], np.minimum(np.abs(x.astype(np.float64)), 448)
    high = np.clip(np.searchsorted(sizes, size), 1, 0x7E)
    below, above = size - sizes[high - 1], sizes[high] - size
    down = (below < above) | ((below == above) & (high % 2 == 1))
    return np.copysign(sizes[high - down], x)


def scaled_e4m3(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q float64 [..., K] of E4M3 and scale float32 [..., 1] with rows ~ q * scale; the largest
    becomes 448."""
    largest = np.abs(rows).max(-1, keepdims=True).astype(np.float32)
    alive = largest >= np.float32(1e-30)
    inverse = np.where(alive, np.float32(448) / np.where(alive, largest, 1), 0).astype(np.float32)
    return e4m3(rows * inverse), np.where(alive, largest / np.float32(448), np.float32(0))


def fp8(rows: np.ndarray) -> np.ndarray:
    """rows [..., K] as E4M3 with a scale each, in float64."""
    q, scale = scaled_e4m3(rows)
    return q * scale


def symmetric8(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q int64 [M, K] in [-127, 127] and scale float32 [M, 1] with rows ~ q * scale."""
    largest = np.abs(rows).max(-1, keepdims=True).astype(np.float32)
    alive = largest >= np.float32(1e-30)
    safe = np.where(alive, largest, np.float32(1))
    inverse = np.where(alive, np.float32(127) / safe, np.float32(0))
    scale = np.where(alive, largest / np.float32(127), np.float32(0))
    return np.rint(rows * inverse).astype(np.int64), scale


def rotated(rows: np.ndarray) -> np.ndarray:
    """int8's rotation of rows [M, K], in their own precision: Hadamard blocks of 64, and of 16, 4
    and 1 for the rest. Its own inverse but for rounding."""
    x = rows.copy()
    at = 0
    while at < x.shape[1]:
        order = next(n for n in (64, 16, 4, 1) if at + n <= x.shape[1])
        block = x[:, at : at + order]
        for stage in range(order.bit_length() - 1):
            pairs = block.reshape(len(x), -1, 2, 1 << stage)
            a, b = pairs[:, :, :1], pairs[:, :, 1:]
            block = np.concatenate([a + b, a - b], 2).reshape(len(x), order)
        x[:, at : at + order] = block / x.dtype.type(np.sqrt(order))
        at += order
    return x


def group_sums(q: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each group's share [M, N, G] of q [M, K] @ weights [N, K].T, in float64."""
    N, K = weights.shape
    groups = -(-K // GROUP)
    pad = groups * GROUP - K
    w = np.pad(weights.astype(np.float64), ((0, 0), (0, pad))).reshape(N, groups, GROUP)
    x = np.pad(q, ((0, 0), (0, pad))).reshape(len(q), groups, GROUP)
    return np.einsum("mgk,ngk->mng", x.astype(np.float64), w)
