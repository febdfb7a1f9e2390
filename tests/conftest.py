"""Shared fixtures."""

from __future__ import annotations

import os
import secrets
import signal

import numpy as np
import pytest

# A shell's background job starts with Ctrl-C ignored, and so would all that the tests start and
# interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    """Random numbers, new each run; the printed seed (or GENFAST_SEED) repeats a failure."""
    seed = int(os.environ.get("GENFAST_SEED", secrets.randbits(32)))
    print(f"GENFAST_SEED={seed}")
    return np.random.default_rng(seed)
