"""Shared fixtures."""

from __future__ import annotations

import os
import secrets

import numpy as np
import pytest


@pytest.fixture
def rng():
    """Random numbers, new each run; the printed seed (or GENFAST_SEED) repeats a failure."""
    seed = int(os.environ.get("GENFAST_SEED", secrets.randbits(32)))
    print(f"GENFAST_SEED={seed}")
    return np.random.default_rng(seed)
