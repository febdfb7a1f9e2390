"""Weight formats that genfast could have, on a model in numpy: for `quality.py --choices`.

Each is a rounding of tests/models/numpy_model.py, double precision but for what the format rounds,
so that a choice is judged alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests/models"))
import numpy_model
import quantised

Array = np.ndarray
Divisors = tuple[float, ...]

EXTREME: Divisors = (-8.0,)
SEARCH: Divisors = (-8.0, -8.45)  # quant/int4.h
WIDE: Divisors = tuple(-x / 10 for x in range(60, 101, 4))


def groups_of(x: Array, size: int) -> Array:
    """[N, K] → [N, K / size, size], padded with zeros; size 0: the whole row."""
    size = size or x.shape[1]
    return np.pad(x, ((0, 0), (0, -x.shape[1] % size))).reshape(len(x), -1, size)


def rows_of(groups: Array, columns: int) -> Array:
    return groups.reshape(len(groups), -1)[:, :columns]


def half(x: Array) -> Array:
    return x.astype(np.float16).astype(np.float64)


def bits8(x: Array, size: int = 0, scale_type: Callable[[Array], Array] = lambda s: s) -> Array:
    """x as 8-bit integers, max|x| / 127 the scale of a row or of each `size` columns."""
    groups = groups_of(x, size)
    scale = np.abs(groups).max(-1, keepdims=True) / 127
    scale[scale == 0] = 1
    return rows_of(np.rint(groups / scale) * scale_type(scale), x.shape[1])


def bits4(w: Array, size: int, divisors: Divisors, fit: bool = True) -> Array:
    """w as 4-bit integers with a float16 scale for `size` columns. Each divisor of the signed
    extreme gives quants; the scale that fits them best, by least squares, counts if `fit`."""
    groups = groups_of(w, size)
    extreme = np.take_along_axis(groups, np.abs(groups).argmax(-1)[..., None], -1)
    extreme[extreme == 0] = 1
    best, chosen = np.full_like(extreme, np.inf), extreme / divisors[0]
    for divisor in divisors if fit else ():
        q = np.clip(np.rint(groups * (divisor / extreme)), -8, 7)
        squares = (q * q).sum(-1, keepdims=True)
        scale = (groups * q).sum(-1, keepdims=True) / np.where(squares == 0, 1, squares)
        error = ((groups - scale * q) ** 2).sum(-1, keepdims=True)
        chosen, best = np.where(error < best, scale, chosen), np.minimum(error, best)
    scale = half(chosen)
    inverse = np.where(scale == 0, 0, 1 / np.where(scale == 0, 1, scale))
    return rows_of(np.clip(np.rint(groups * inverse), -8, 7) * scale, w.shape[1])


def exact(x: Array) -> Array:
    return x


def unsigned8(x: Array) -> Array:
    """A row from its least to its largest number in 256 steps, zero among them."""
    low = np.minimum(x.min(-1, keepdims=True), 0)
    scale = (np.maximum(x.max(-1, keepdims=True), 0) - low) / 255
    scale[scale == 0] = 1
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale


def rotated(rounding: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Rounded once rotated (quant/rotation.h), and rotated back."""
    return lambda x: quantised.rotated(rounding(quantised.rotated(x)))[:, : x.shape[1]]


int8 = rotated(bits8)


def e4m3(x: Array, size: int = 0) -> Array:
    """x as E4M3, max|x| / 448 the scale of a row or of each `size` columns."""
    groups = groups_of(x, size)
    scale = np.abs(groups).max(-1, keepdims=True) / 448
    scale[scale == 0] = 1
    return rows_of(quantised.e4m3(groups / scale) * scale, x.shape[1])


def bfloat16(x: Array) -> Array:
    return quantised.bfloat16(x).astype(np.float64)


class Choice(NamedTuple):
    """How weights and activations of matmuls are rounded; of the one that gives the logits, the
    head, apart."""

    weights: Callable[[Array], Array]
    activations: Callable[[Array], Array]
    head: Callable[[Array], Array] = int8
    head_activations: Callable[[Array], Array] = int8


def _all(weights: Callable[[Array], Array], activations: Callable[[Array], Array]) -> Choice:
    return Choice(weights, activations, weights, activations)


def _groups(size: int) -> Callable[[Array], Array]:
    return lambda x: bits8(x, size)


def _q8(w: Array) -> Array:
    return bits8(w, 32, half)


def _four(size: int, divisors: Divisors, fit: bool = True) -> Callable[[Array], Array]:
    return lambda w: bits4(w, size, divisors, fit)


CHOICES = {
    "int8, a scale a row, rotated; activations alike (genfast)": _all(int8, int8),
    "int8, a scale a row, rotated; activations in groups of 64": _all(int8, rotated(_groups(64))),
    "int8, a scale a row, rotated; activations exact": _all(int8, exact),
    "exact; activations int8, a scale a row, rotated": _all(exact, int8),
    "int8, a scale a row; activations alike": _all(bits8, bits8),
    "int8, a scale a row; activations unsigned": _all(bits8, unsigned8),
    "int8, a scale a row; activations in groups of 32": _all(bits8, _groups(32)),
    "int8, a scale a row; activations exact": _all(bits8, exact),
    "int8 in groups of 64; activations alike": _all(_groups(64), _groups(64)),
    "int8 in groups of 32; activations a row": _all(_q8, bits8),
    "int8 in groups of 32; activations alike (Q8_0)": _all(_q8, _groups(32)),
    "int4 G 32, search; activations a row (genfast)": Choice(_four(32, SEARCH), bits8),
    "int4 G 32, search, rotated; activations alike": Choice(rotated(_four(32, SEARCH)), int8),
    "int4 G 32, extreme / -8; activations a row": Choice(_four(32, EXTREME, False), bits8),
    "int4 G 32, extreme / -8 fitted; activations a row": Choice(_four(32, EXTREME), bits8),
    "int4 G 32, search of eleven; activations a row": Choice(_four(32, WIDE), bits8),
    "int4 G 64, search; activations a row": Choice(_four(64, SEARCH), bits8),
    "int4 G 128, search; activations a row": Choice(_four(128, SEARCH), bits8),
    "int4 G 32, search; activations in groups of 32": Choice(_four(32, SEARCH), _groups(32)),
    "int4 G 32, search; activations exact": Choice(_four(32, SEARCH), exact),
    "int4 G 32, search, logits too; activations a row": _all(_four(32, SEARCH), bits8),
    "fp8, a scale a row; activations bfloat16 (genfast)": Choice(e4m3, bfloat16),
    "fp8, a scale a row, rotated; activations bfloat16": Choice(rotated(e4m3), bfloat16),
    "fp8, a scale for 128; activations bfloat16": Choice(lambda w: e4m3(w, 128), bfloat16),
    "fp8, a scale a row, logits too; activations bfloat16": _all(e4m3, bfloat16),
    "fp8, a scale a row; activations alike": Choice(e4m3, e4m3),
}


class Rounding(numpy_model.Exact):
    """A choice, applied; a weight is rounded once."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self._rounded: dict[int, tuple[Array, Array]] = {}

    def _weight(self, w: Array, head: bool) -> Array:
        key = w.__array_interface__["data"][0]
        if key not in self._rounded:  # w is kept, so that its address stays its own
            self._rounded[key] = w, (self.choice.head if head else self.choice.weights)(w)
        return self._rounded[key][1]

    def table(self, w: Array, tied: bool) -> Array:
        return self._weight(w, head=True) if tied else w

    def matmul(self, x: Array, w: Array, head: bool = False) -> Array:
        activations = self.choice.head_activations if head else self.choice.activations
        return activations(x) @ self._weight(w, head).T


class Simulation:
    """A Llama of `tensors` in double precision; `logits(ids, rounding)` gives [T, V]."""

    def __init__(self, config: dict, tensors: dict[str, Array]) -> None:
        self._config = config
        self._tensors = {name: t.astype(np.float64) for name, t in tensors.items()}

    def logits(self, ids: list[int], rounding: numpy_model.Exact | None = None) -> Array:
        rounding = rounding or numpy_model.Exact()
        return numpy_model.llama(self._config, self._tensors, np.array(ids), rounding)
