"""Weights of image models: convolutions become matrices as the kernels take them."""

from __future__ import annotations

from typing import Any

import numpy as np

from genfast import _core
from genfast.checkpoint import Checkpoint
from genfast.errors import LoadError
from genfast.weights import PackedWeight, Weights

_KINDS = {"F32": np.uint32, "F16": np.uint16, "BF16": np.uint16}  # copied, not computed with


def _winograd_axis(taps: np.ndarray) -> list[np.ndarray]:
    """G of F(2, 3) along the first axis: three taps become four numbers."""
    first, middle, last = taps
    both, half = (first + last) / 2, middle / 2
    return [first, both + half, both - half, last]


def winograd_filters(weight: np.ndarray) -> np.ndarray:
    """[O, I, 3, 3] → float32 [16 · P, I] as `winograd_conv2d` takes it: P is O rounded up to a
    multiple of 32, the rows between are zeros."""
    outputs, inputs = weight.shape[:2]
    places = np.zeros((4, 4, -(-outputs // 32) * 32, inputs), np.float32)
    taps = np.ascontiguousarray(weight.transpose(2, 3, 0, 1), np.float32)
    for row, down in enumerate(_winograd_axis(taps)):
        for column, numbers in enumerate(_winograd_axis(down)):
            places[row, column, :outputs] = numbers
    return places.reshape(-1, inputs)


class ImageWeights(Weights):
    """`Weights` that also knows convolutions. winograd: as in `genfast.load`."""

    def __init__(self, checkpoint: Checkpoint, *, winograd: bool = False, **options: Any) -> None:
        super().__init__(checkpoint, **options)
        self.winograd = winograd

    def conv(
        self,
        name: str,
        outputs: int,
        inputs: int,
        kernel: int | tuple[int, int] = 3,
        *,
        groups: int = 1,
        kept: int | None = None,
        quantised: bool = True,
    ) -> PackedWeight:
        """A tensor [O, I / groups, kh, kw] as the matrix [O, kh · kw · I] of `conv2d`.

        groups: zeros stand where an output channel does not see an input channel. kept: only the
        first so many outputs. quantised: false for the few layers that decide much (the first and
        the last).
        """
        kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (outputs, inputs // groups, kh, kw)

        def arrange(data: np.ndarray) -> np.ndarray:
            taps = data.transpose(0, 2, 3, 1)  # [O, kh, kw, I / groups]
            if groups == 1:
                return taps[:kept]
            whole = np.zeros((outputs, kh, kw, inputs), data.dtype)
            for group in range(groups):
                rows = slice(group * outputs // groups, (group + 1) * outputs // groups)
                cols = slice(group * inputs // groups, (group + 1) * inputs // groups)
                whole[rows, :, :, cols] = taps[rows]
            return whole[:kept]

        rows = outputs if kept is None else kept
        return self._arranged(name, shape, rows, arrange, quantised)

    def winograd_conv(self, name: str, outputs: int, inputs: int) -> PackedWeight:
        """A tensor [O, I, 3, 3] as the matrix of `winograd_conv2d`, rounded once."""
        key = ((name,), "winograd")
        if key not in self._packed:
            matrix = winograd_filters(self.array(name, outputs, inputs, 3, 3))
            self._packed[key] = self._packed_floats(name, matrix, quantised=True)
        return self._packed[key]

    def conv_transpose(
        self,
        name: str,
        inputs: int,
        outputs: int,
        kernel: int = 4,
        *,
        scale: np.ndarray | None = None,
        outputs_first: bool = False,
        quantised: bool = True,
    ) -> PackedWeight:
        """A tensor [I, O, k, k] as the matrix [k · k · O, I] of `conv_transpose2d`.

        scale [O]: what a batch norm multiplies by; the product is taken, and kept, in float32
        unless other weights are asked for. outputs_first: it is stored as [O, I, k, k].
        """
        shape = (inputs, outputs, kernel, kernel)
        rows = kernel * kernel * outputs
        if outputs_first:
            shape = (outputs, inputs, kernel, kernel)
            return self._arranged(name, shape, rows, lambda w: w.transpose(2, 3, 0, 1), quantised)
        if scale is not None:
            taps = self.array(name, *shape) * scale[None, :, None, None]
            matrix = np.ascontiguousarray(taps.transpose(2, 3, 1, 0)).reshape(rows, inputs)
            return self._packed_floats(name, matrix, quantised)
        return self._arranged(name, shape, rows, lambda data: data.transpose(2, 3, 1, 0), quantised)

    def _packed_floats(self, name: str, matrix: np.ndarray, quantised: bool) -> PackedWeight:
        """What was computed from a tensor: in float32 unless other weights are asked for."""
        known = self.quantize if quantised else None
        format = known or {"bfloat16": "bf16"}.get(self.dtype, "f32")
        source = (matrix.view(np.uint8).reshape(-1), "F32", *matrix.shape, False)
        native = _core.Weight(format, [source], self.threads)
        return PackedWeight(name.removesuffix(".weight"), native)

    def _arranged(self, name: str, shape, rows: int, arrange, quantised: bool) -> PackedWeight:
        key = ((name,), False)
        if key not in self._packed:
            tensor = self._tensor(name, shape)
            view = self.adapters.merged(tensor)
            stored = np.frombuffer(view.data.tobytes(), _KINDS[view.dtype]).reshape(shape)
            self.checkpoint.release_view(tensor)
            matrix = np.ascontiguousarray(arrange(stored)).reshape(rows, -1)
            format = self._format([view], False, quantised)
            sources = [
                (matrix.view(np.uint8).reshape(-1), view.dtype, rows, matrix.shape[1], False)
            ]
            try:
                native = _core.Weight(format, sources, self.threads)
            except ValueError as error:
                raise LoadError(f"{view.file}: tensor '{view.name}': {error}") from None
            self._loaded(view.data.nbytes)
            self._packed[key] = PackedWeight(name.removesuffix(".weight"), native)
        return self._packed[key]
