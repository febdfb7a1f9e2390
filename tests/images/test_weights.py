"""Weights of convolutions: what loading them takes of memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from genfast.checkpoint import Checkpoint
from genfast.images.weights import ImageWeights

_CHANNELS, _COUNT = 256, 16  # 2.4 MB each


def _file_bytes() -> int:
    """Of mapped files that count as this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("winograd", [False, True])
def test_pages_of_the_file_are_let_go(rng, tmp_path, winograd):
    shape = (_CHANNELS, _CHANNELS, 3, 3)
    arrays = {f"{i}.weight": rng.normal(size=shape).astype(np.float32) for i in range(_COUNT)}
    save_file(arrays, tmp_path / "model.safetensors")
    size = sum(array.nbytes for array in arrays.values())
    with Checkpoint(tmp_path) as checkpoint:
        weights = ImageWeights(checkpoint, winograd=winograd, quantize="int8", progress=False)
        conv = weights.winograd_conv if winograd else weights.conv
        conv("0.weight", _CHANNELS, _CHANNELS)  # what code is needed comes in with the first
        before = _file_bytes()
        for name in list(arrays)[1:]:
            conv(name, _CHANNELS, _CHANNELS)
        grown = _file_bytes() - before
        assert grown < size / 8, f"{grown} bytes of {size} stayed"
