"""An embedding table of a checkpoint, whose rows are read as they are asked for."""

from __future__ import annotations

import numpy as np

from genfast.checkpoint import Checkpoint


class Table:
    """A tensor [rows, cols] that stays in its file."""

    def __init__(self, checkpoint: Checkpoint, name: str, rows: int, cols: int) -> None:
        view = checkpoint.tensor(name, (rows, cols))
        self._dtype = view.dtype
        self._rows = view.data.reshape(rows, view.data.nbytes // rows)

    def __call__(self, ids) -> np.ndarray:
        """float32 [..., cols] for ids [...]."""
        ids = np.asarray(ids, np.int64)
        raw = self._rows[ids.reshape(-1)]
        if self._dtype == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            values = raw.view(np.float32 if self._dtype == "F32" else np.float16)
        return values.astype(np.float32).reshape(*ids.shape, -1)
