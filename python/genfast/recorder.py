"""Records instructions, one after the other, into a native program: what `Graph` stands on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from genfast import _core

_ROWS = {-1: "T", -2: "outputs"}


@dataclass(frozen=True)
class Tensor:
    """A value of the program: [rows, cols] of float32; of images a pixel a row, grid (N, H, W)."""

    id: int
    name: str
    shape: tuple[str | int, int]
    grid: tuple[int, int, int] | None = None


class Recorder:
    """A program that grows, and the values it has so far."""

    def __init__(self) -> None:
        self.program = _core.Program()
        self._scope: list[str] = []
        self._constants: dict[int, tuple[np.ndarray, Tensor]] = {}
        self._used_names: dict[str, int] = {}

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names recorded inside get the prefix ``name.``: ``g.scope("layers.3")``."""
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    def _append(
        self,
        op: str,
        inputs: list,
        attributes: dict,
        name: str,
        grid: tuple[int, int, int] | None = None,
    ) -> Tensor:
        """grid: of the result; that of the first input where its rows are kept."""
        full = ".".join([*self._scope, name])
        count = self._used_names.get(full, 0)
        self._used_names[full] = count + 1
        if count:
            full = f"{full}_{count}"
        ids = [-1 if tensor is None else tensor.id for tensor in inputs]
        caller = sys._getframe(2)
        where = f"{caller.f_code.co_filename.rpartition('/')[2]}:{caller.f_lineno}"
        out = self._tensor(self.program.append(op, ids, attributes, full, where), full)
        if grid is None and inputs[0].shape[0] == out.shape[0]:
            grid = inputs[0].grid
        return replace(out, grid=grid)

    def _tensor(self, value: int, name: str) -> Tensor:
        rows, cols = self.program.shape(value)
        return Tensor(value, name, (_ROWS.get(rows, rows), cols))

    def _constant(self, data: np.ndarray | None) -> Tensor | None:
        if data is None:
            return None
        known = self._constants.get(id(data))
        if known is None:
            value = self.program.constant(f"constant_{len(self._constants)}", data)
            known = self._constants[id(data)] = (data, self._tensor(value, "constant"))
        return known[1]

    def _array(self, data: Tensor | np.ndarray) -> Tensor:
        return self._constant(data) if isinstance(data, np.ndarray) else data

    def _matrix(self, weight) -> Tensor:
        """weight: a `genfast.weights.PackedWeight`."""
        return self._tensor(self.program.matrix(weight.name, weight.native), weight.name)
