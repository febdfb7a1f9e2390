"""Weights that spectral norm divides, as torch stores them: weight_orig, weight_u and weight_v.

What a trained layer multiplies by is weight_orig / (uᵀ W v), W being it as a matrix [out, rest].
Miyato et al., 2018 (arXiv 1802.05957). A weight that was folded before it was saved is read as is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from genfast.checkpoint import Checkpoint, TensorView
from genfast.errors import LoadError
from genfast.tensor_floats import to_float32


class SpectralCheckpoint(Checkpoint):
    """A checkpoint whose tensors ending in `weight` may be stored divided by nothing yet."""

    def tensor(self, name: str, shape: Sequence[int] | None = None) -> TensorView:
        if name in self or f"{name}_orig" not in self:
            return super().tensor(name, shape)
        view = super().tensor(f"{name}_orig", shape)
        weight = to_float32(view).reshape(view.shape[0], -1).astype(np.float64)
        left, right = (
            to_float32(super(SpectralCheckpoint, self).tensor(f"{name}_{side}", (size,)))
            for side, size in zip("uv", weight.shape, strict=True)
        )
        # Sums whose order NumPy fixes, unlike that of a product of matrices.
        sigma = ((weight * right).sum(axis=1) * left).sum()
        if not sigma > 0:
            raise LoadError(f"{view.file}: tensor '{name}_u': uᵀ W v is {sigma}, expected above 0")
        data = (weight / sigma).astype(np.float32).reshape(-1).view(np.uint8)
        return replace(view, name=name, dtype="F32", data=data, mapped=False)
