"""What this process holds in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

STATM = Path("/proc/self/statm")

needs_proc = pytest.mark.skipif(not STATM.exists(), reason="needs /proc")


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
