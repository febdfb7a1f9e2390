"""Runs a recorded image program: arrays in, arrays out, once a step of the caller's loop."""

from __future__ import annotations

import os

import numpy as np

from genfast import _core
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph


class Runner:
    """What an `ImageGraph` recorded, ready to run.

    threads: 0 for all. isa: as in `genfast.ops`. keep_all: every intermediate stays readable
    (`value`). GENFAST_CHECK=1 reruns every op on its reference, as for text models. Raises
    ValueError for a graph without outputs.
    """

    def __init__(
        self, graph: ImageGraph, *, threads: int = 0, isa: str = "", keep_all: bool = False
    ) -> None:
        check = os.environ.get("GENFAST_CHECK", "") not in ("", "0")
        self._inputs, self._outputs = graph.inputs, graph.outputs
        self._native = _core.StaticProgram(graph.program, threads, isa, keep_all, check)
        self.arena_bytes: int = self._native.arena_bytes
        self.weight_bytes: int = graph.program.weight_bytes

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs by name. Images are [N, C, H, W], other values [rows, cols], float32.

        The GIL is released meanwhile. Raises ValueError naming the input that lacks or does not
        fit.
        """
        unknown = sorted(inputs.keys() - self._inputs.keys())
        if unknown:
            raise ValueError(f"unknown input {unknown[0]!r}; there are {', '.join(self._inputs)}")
        given = {name: _to_rows(self._inputs[name], array) for name, array in inputs.items()}
        results = self._native.run(given)
        return {
            name: _from_rows(tensor, rows)
            for (name, tensor), rows in zip(self._outputs.items(), results, strict=True)
        }

    def value(self, name: str) -> np.ndarray:
        """An intermediate of the last run, [rows, cols]; needs keep_all."""
        return self._native.value(name)

    def dump(self) -> str:
        """The program as text: ops, shapes, kernels, slots, lines of Python."""
        return self._native.dump()


def _to_rows(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array, np.float32)
    if tensor.grid is None:
        return array
    count, height, width = tensor.grid
    expected = (count, tensor.shape[1], height, width)
    if array.shape != expected:
        raise ValueError(
            f"input {tensor.name} must have shape {list(expected)}, found {list(array.shape)}"
        )
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).reshape(tensor.shape)


def _from_rows(tensor: Tensor, rows: np.ndarray) -> np.ndarray:
    if tensor.grid is None:
        return rows
    pixels = rows.reshape(*tensor.grid, tensor.shape[1])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
