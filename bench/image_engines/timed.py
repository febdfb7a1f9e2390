"""What image engines have in common: a forward is timed; most convert nothing."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np


class Timed:
    @staticmethod
    def convert(model: Path, work: Path) -> None:
        pass

    def seconds(self, *inputs) -> tuple[float, float]:
        """A forward's time by the clock, and of all processors together."""
        clock, processor = time.perf_counter(), time.process_time()
        self.forward(*inputs)
        return time.perf_counter() - clock, time.process_time() - processor

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def close(self) -> None:
        pass
