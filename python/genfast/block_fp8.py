"""Matrices stored as DeepSeek-V3's are: bytes of float8 (E4M3) and, for every 128 × 128 of them, a
float32 that they are multiplied with, in `NAME_scale_inv`. They are read as bfloat16.

DeepSeek-AI, 2024 (arXiv 2412.19437); E4M3: Micikevicius et al., 2022 (arXiv 2209.05433).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from genfast.checkpoint import Checkpoint, TensorView
from genfast.config import show
from genfast.errors import LoadError

BLOCK = 128


class BlockFp8:
    """The matrix `name` [rows, cols]; dtype: that of what `view` gives."""

    dtype = "BF16"

    def __init__(self, checkpoint: Checkpoint, name: str, shape: tuple[int, int]) -> None:
        blocks = tuple(-(-n // BLOCK) for n in shape)
        self.name, self.file = name, checkpoint.file_of(name)
        self._bytes = _raw(checkpoint, name, "F8_E4M3", shape)
        self._scales = _raw(checkpoint, f"{name}_scale_inv", "F32", blocks)
        self.nbytes = self._bytes.nbytes + self._scales.nbytes

    def view(self) -> TensorView:
        rows, cols = self._bytes.shape
        bits = np.empty((rows, cols), np.uint16)
        for row, scales in zip(range(0, rows, BLOCK), self._scales, strict=True):
            numbers = _numbers()[self._bytes[row : row + BLOCK]]
            numbers *= np.repeat(scales, BLOCK)[:cols]
            bits[row : row + BLOCK] = _bfloat16(numbers)
        data = bits.reshape(-1).view(np.uint8)
        return TensorView(self.name, self.file, self.dtype, (rows, cols), data, mapped=False)


def view_of(stored: TensorView | BlockFp8) -> TensorView:
    """Made only when it is asked for: a packed cache may have what it is for."""
    return stored.view() if isinstance(stored, BlockFp8) else stored


def bytes_of(stored: TensorView | BlockFp8) -> int:
    return stored.nbytes if isinstance(stored, BlockFp8) else stored.data.nbytes


def _raw(checkpoint: Checkpoint, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    found, found_shape, data = checkpoint.raw(name)
    if (found, found_shape) != (dtype, shape):
        raise LoadError(
            f"{checkpoint.file_of(name)}: tensor {show(name)}: found {found} {list(found_shape)}, "
            f"expected {dtype} {list(shape)} by config.json"
        )
    if dtype == "F32":  # what lies in a file need not be aligned
        return np.frombuffer(data.tobytes(), np.float32).reshape(shape)
    return data.reshape(shape)


@cache
def _numbers() -> np.ndarray:
    """By byte: a sign, four bits of exponent (plus 7), three of mantissa; all ones: NaN."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = np.where(
        exponent > 0,
        np.ldexp(1 + mantissa / 8, exponent - 7),
        np.ldexp(mantissa / 8, -6),
    )
    size[byte & 127 == 127] = np.nan
    return np.where(byte & 128, -size, size).astype(np.float32)


def _bfloat16(numbers: np.ndarray) -> np.ndarray:
    """The bits of float32 numbers rounded to bfloat16's nearest, ties to even."""
    bits = numbers.view(np.uint32)
    rounded = bits + (0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(numbers), 0x7FC0, rounded).astype(np.uint16)
