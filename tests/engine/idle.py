"""Waiting for the engine to put its things away: it does so a moment after the last answer."""

from __future__ import annotations

import time


def wait_until_idle(model, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while model.stats()["running"] or model.stats()["kv_pages_used"]:
        assert time.monotonic() < deadline, model.stats()
        time.sleep(0.005)
