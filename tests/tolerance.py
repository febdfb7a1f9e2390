"""How far from exact an answer may be, derived from the roundings that were made on the way.

For one operation, a bound: `dot_bound`. Through a whole model a worst-case bound is astronomically
large, as every rounding would have to conspire; there the roundings are drawn at random instead,
each uniform within half of its format's step, and the logits' distance over some draws shows what
such roundings do to *this* model. A right implementation makes one more draw of the same kind.
"""

from __future__ import annotations

import numpy as np

from quantised import rotated

EPS32 = 2.0**-23  # twice the unit roundoff of float32
BF16_STEP = 2.0**-7  # the gap between neighbours in [1, 2): 8 significant bits

# Relative distance of a position's float32 logits from transformers' float32 logits. Both make some
# 10^2 roundings of 2^-24 along each path through these two-layer models, partly cancelling; the two
# ways transformers itself can take (a token at a time, or all at once) differ by up to 3e-6.
FLOAT32_LOGITS = 2e-5


def dot_bound(k: int, magnitude: np.ndarray | float) -> np.ndarray | float:
    """Error of a float32 dot product of `k` terms; `magnitude` is the sum of |x_i w_i|.

    gamma_k = k u / (1 - k u) with u = 2^-24 (Higham, Accuracy and Stability, 3.1), in any order.
    """
    u = EPS32 / 2
    return k * u / (1 - k * u) * magnitude


def relative_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| / |b| of each row."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)


def bf16_step(x: np.ndarray) -> np.ndarray:
    """The gap between bfloat16 neighbours at each of `x`."""
    return np.ldexp(BF16_STEP, np.frexp(np.abs(x))[1] - 1)


def row_step(x: np.ndarray, levels: int) -> np.ndarray:
    """The gap of symmetric quantisation, one scale a row: max|row| / levels."""
    return np.abs(x).max(-1, keepdims=True) / levels


def rotated_step(x: np.ndarray) -> np.ndarray:
    """int8's gap. Rotated back, errors of a row's numbers are as large, in every direction."""
    return row_step(rotated(x), 127)


def group_step(w: np.ndarray, levels: int, group: int = 32) -> np.ndarray:
    """The gap where each run of `group` columns has its own scale, at each of `w` [N, K]."""
    n, k = w.shape
    padded = np.pad(np.abs(w), ((0, 0), (0, -k % group))).reshape(n, -1, group)
    return np.repeat(padded.max(-1) / levels, group, axis=1)[:, :k]


def e4m3_step(w: np.ndarray) -> np.ndarray:
    """The gap of E4M3 where a row's largest is 448, at each of `w`."""
    scale = np.abs(w).max(-1, keepdims=True) / 448
    power = np.frexp(np.abs(w) / np.where(scale > 0, scale, 1))[1] - 1
    return scale * np.ldexp(2.0**-3, np.maximum(power, -6))


class RandomRounding:
    """Every operand of every matmul is off by a uniform error of up to half a step of its format,
    and so are keys and values with a bfloat16 cache.

    An embedding table is exact unless it is tied. Quantised models give logits by int8.
    """

    def __init__(self, rng: np.random.Generator, weights: str, kv: str = "float32") -> None:
        self.rng, self.weights, self.kv_dtype = rng, weights, kv
        self._noisy: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # a weight rounds once

    def _noise(self, x: np.ndarray, step: np.ndarray) -> np.ndarray:
        return x + self.rng.uniform(-0.5, 0.5, x.shape) * step

    def _weight(self, w: np.ndarray, head: bool) -> np.ndarray:
        key = w.__array_interface__["data"][0]
        if key not in self._noisy:
            self._noisy[key] = (
                w,
                self._rounded(w, head),
            )  # keeps w, that its address stays its own
        return self._noisy[key][1]

    def _rounded(self, w: np.ndarray, head: bool) -> np.ndarray:
        if self.weights == "bfloat16":
            return self._noise(w, bf16_step(w))
        if self.weights == "int8" or head:
            return self._noise(w, rotated_step(w))
        if self.weights == "fp8":
            return self._noise(w, e4m3_step(w))
        # int4: 7 levels either side; the scale itself is rounded to float16
        w = w * (1 + self.rng.uniform(-0.5, 0.5, w.shape) * 2.0**-10)
        return self._noise(w, group_step(w, 7))

    def table(self, w: np.ndarray, tied: bool) -> np.ndarray:
        return self._weight(w, head=True) if tied else w

    def matmul(self, x: np.ndarray, w: np.ndarray, head: bool = False) -> np.ndarray:
        if self.weights == "bfloat16":
            step = bf16_step(x)
        elif self.weights == "int8" or head:
            step = rotated_step(x)
        else:
            step = bf16_step(x) if self.weights == "fp8" else row_step(x, 127)
        return self._noise(x, step) @ self._weight(w, head).T

    def kv(self, x: np.ndarray) -> np.ndarray:
        return self._noise(x, bf16_step(x)) if self.kv_dtype == "bfloat16" else x
