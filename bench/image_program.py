"""A program of one op over images as they lie inside, for benches: no transposition is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from genfast import _core
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph


def one_op(record: Callable[..., Tensor], *shapes: tuple[int, ...], isa: str = ""):
    """A function of arrays [rows, cols] that runs record(g, tensors…).

    shapes: (rows, cols), or (N, C, H, W) of images. Inputs and the output are copied in it.
    """
    g, tensors = ImageGraph(), []
    for i, shape in enumerate(shapes):
        if len(shape) == 2:
            tensors.append(g.input(f"x{i}", *shape))
        else:
            n, c, h, w = shape
            tensors.append(replace(g.input(f"x{i}", n * h * w, c), grid=(n, h, w)))
    g.program.add_output(record(g, *tensors).id)
    native = _core.StaticProgram(g.program, 0, isa)

    def call(*arrays: np.ndarray) -> np.ndarray:
        return native.run({f"x{i}": array for i, array in enumerate(arrays)})[0]

    return call


def packed(rng, N: int, K: int, format: str) -> _core.Weight:
    weight = rng.normal(size=(N, K)).astype(np.float32) * 0.02
    return _core.Weight(format, [(weight.reshape(-1).view(np.uint8), "F32", N, K, False)])
