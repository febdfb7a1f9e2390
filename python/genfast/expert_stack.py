"""Experts that lie in one tensor: gpt-oss's layout, in floats or in MXFP4.

In floats the tensor is [experts, cols, rows]: each matrix transposed. In MXFP4 (Open Compute
Project, "OCP Microscaling Formats (MX) v1.0", 2023) there are two: `NAME_blocks` [experts, rows,
cols / 32, 16] of bytes, each two numbers of four bits, the lower first, and `NAME_scales` [experts,
rows, cols / 32], the exponents that 32 numbers share, plus 127. A number has one bit of mantissa:
as bfloat16 it is exact.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from genfast.checkpoint import Checkpoint, TensorView
from genfast.config import show
from genfast.errors import LoadError

GROUP = 32  # columns that share a scale
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


class ExpertStack:
    """One matrix [rows, cols] of every expert. dtype: that of what `matrix` gives."""

    def __init__(
        self, checkpoint: Checkpoint, name: str, experts: int, rows: int, cols: int
    ) -> None:
        self.name, self.rows, self.cols = name, rows, cols
        self.packed = f"{name}_blocks" in checkpoint
        if self.packed:
            groups = -(-cols // GROUP)
            self._blocks = _bytes(checkpoint, f"{name}_blocks", (experts, rows, groups, 16))
            self._scales = _bytes(checkpoint, f"{name}_scales", (experts, rows, groups))
            self.dtype, self.nbytes = "BF16", self._blocks.nbytes + self._scales.nbytes
        else:
            self._view = checkpoint.tensor(name, (experts, cols, rows))
            self.dtype, self.nbytes = self._view.dtype, self._view.data.nbytes
        self.file = checkpoint.file_of(f"{name}_blocks" if self.packed else name)

    @property
    def transposed(self) -> bool:
        return not self.packed

    def matrix(self, expert: int, *, take_turns: bool) -> list[TensorView]:
        """An expert's matrix, [cols, rows] where it is transposed; take_turns: its rows are those
        of two matrices in turns, which come one after the other."""
        if self.packed:
            bits = _bfloat16(self._blocks[expert], self._scales[expert])[:, : self.cols]
            parts = [bits[0::2], bits[1::2]] if take_turns else [bits]
        else:
            size = self._view.data.nbytes // self._view.shape[0]
            kind = {4: np.uint32, 2: np.uint16}[size // (self.rows * self.cols)]
            data = self._view.data[expert * size : (expert + 1) * size]
            bits = np.frombuffer(data.tobytes(), kind).reshape(self.cols, self.rows)
            parts = [bits[:, 0::2], bits[:, 1::2]] if take_turns else [bits]
        return [
            TensorView(
                f"{self.name}[{expert}]",
                self.file,
                self.dtype,
                part.shape,
                np.ascontiguousarray(part).reshape(-1).view(np.uint8),
                mapped=False,
            )
            for part in parts
        ]


def _bytes(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype, found, data = checkpoint.raw(name)
    if dtype != "U8" or found != shape:
        raise LoadError(
            f"{checkpoint.file_of(name)}: tensor {show(name)}: found {dtype} {list(found)}, "
            f"expected U8 {list(shape)} by config.json"
        )
    return data.reshape(shape)


@cache
def _pairs() -> np.ndarray:
    """Two numbers as bfloat16 bits, by scale · 256 + byte: uint32 [65536]. What is too large for
    float32 is infinite."""
    numbers = np.array([*E2M1, *(-x for x in E2M1)], np.float32)
    with np.errstate(over="ignore"):
        scaled = np.ldexp(numbers[None], np.arange(-127, 129)[:, None])
    bits = scaled.astype(np.float32).view(np.uint32) >> 16
    return (bits[:, None, :] | bits[:, :, None] << 16).reshape(-1).astype(np.uint32)


def _bfloat16(blocks: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """[rows, groups, 16] and [rows, groups] → bits [rows, 32 · groups] uint16."""
    index = scales[..., None].astype(np.uint16) << 8 | blocks
    return _pairs()[index].view(np.uint16).reshape(len(blocks), -1)
