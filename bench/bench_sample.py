"""sample over a vocabulary of 128k. Floor: the logits read once, 0.5 MB from the L2 cache or, when
other work came between (`cold`: 64 vectors in turn), from memory. A wide nucleus also
computes V exponentials and reads the weights twice."""

from itertools import cycle

import numpy as np
import pytest

from genfast import ops

V = 128256
FILTERS = {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "min_p": 0.05}
SETTINGS = {  # keywords, spread of the logits
    "greedy": ({}, 1),
    "top_k": (FILTERS, 3),
    "min_p": ({"temperature": 1.0, "min_p": 0.05}, 3),
    "top_p_peaked": ({"temperature": 1.0, "top_p": 0.9}, 6),
    # nuclei of some 56,000, 78,000 and 127,000 tokens
    "top_p_wide": ({"temperature": 1.0, "top_p": 0.8}, 1),
    "top_p_wider": ({"temperature": 1.0, "top_p": 0.9}, 1),
    "top_p_flat": ({"temperature": 1.0, "top_p": 0.99}, 0.1),
    "top_k_2000": ({"temperature": 1.0, "top_k": 2000}, 1),
    "top_k_20000": ({"temperature": 1.0, "top_k": 20000, "top_p": 0.95, "min_p": 0.01}, 1),
    "all": ({"temperature": 1.0}, 1),
}


def kept(logits: np.ndarray, settings: dict) -> tuple[np.ndarray, np.ndarray]:
    """Ids, most probable first, and cumulated weights of what the settings keep."""
    order = np.argsort(-logits, kind="stable")[: settings.get("top_k") or None]
    weight = np.exp((logits[order].astype(np.float64) - logits.max()) / settings["temperature"])
    n = int((np.cumsum(weight) - weight < settings.get("top_p", 1) * weight.sum()).sum())
    n = min(n, int((weight >= settings.get("min_p", 0)).sum()))
    return order[:n], np.cumsum(weight[:n])


@pytest.mark.parametrize("place", ["warm", "cold"])
@pytest.mark.parametrize("name", SETTINGS)
def test_sample(benchmark, rng, report, name, place):
    settings, spread = SETTINGS[name]
    logits = rng.normal(size=V).astype(np.float32) * np.float32(spread)
    copies = cycle([logits.copy() for _ in range(64)] if place == "cold" else [logits])
    draw = 0.7
    token = benchmark(
        lambda: ops.sample(next(copies), draw=draw, threads=1, **settings),
    )
    if settings:
        ids, cumulated = kept(logits, settings)
        index = int(np.searchsorted(cumulated, draw * cumulated[-1], side="right"))
        # a wide nucleus may be off by what float weights round: some 1e-5 of its tokens
        near = max(1, len(ids) // 10_000)
        assert token in ids[max(0, index - near) : index + near + 1]
    else:
        assert token == np.argmax(logits)
    report(bytes=logits.nbytes, cached=place == "warm", threads=1)
