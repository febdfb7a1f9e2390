"""Waiting for the engine to put its things away: it does so a moment after the last answer."""

from __future__ import annotations

import time


def wait_until_idle(model, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while any(model.stats()[name] for name in ("running", "waiting", "kv_pages_used")):
        assert time.monotonic() < deadline, model.stats()
        time.sleep(0.005)
