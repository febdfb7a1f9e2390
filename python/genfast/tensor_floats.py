"""The numbers of a stored tensor."""

from __future__ import annotations

import numpy as np

from genfast.checkpoint import TensorView


def to_float32(view: TensorView) -> np.ndarray:
    """All its numbers, in one row."""
    if view.dtype == "BF16":
        wide = view.data.view(np.uint8).tobytes()
        return (np.frombuffer(wide, np.uint16).astype(np.uint32) << 16).view(np.float32)
    kind = np.float32 if view.dtype == "F32" else np.float16
    return np.frombuffer(view.data.tobytes(), kind).astype(np.float32)
