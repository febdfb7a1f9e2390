"""What `peers.py` and `quality.py` share: how far two distributions are apart, and their tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np

# How far from float32 a correct engine is at most: a part of the KL divergence between float32's
# answers to different prompts, which is about what a wrong one gives.
LIMITS = {"f32": 1e-5, "bf16": 5e-3, "int8": 5e-2, "int4": 0.4, "fp8": 0.1}


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """float64 over the last axis."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def divergence(reference: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """KL(reference ‖ other) in nats, and whether the likeliest token is the same; over the last
    axis of both."""
    if reference.shape != logits.shape or not np.isfinite(logits).all():
        raise ValueError(f"logits {logits.shape} for {reference.shape}, or not all finite")
    p, q = log_softmax(reference), log_softmax(logits)
    return (np.exp(p) * (p - q)).sum(-1), reference.argmax(-1) == logits.argmax(-1)


def table(rows: list[list[str]]) -> str:
    """Markdown, columns aligned; the first row is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (n + 2) for n in widths) + "|", *lines[1:]])


def insert(page: Path, name: str, text: str) -> None:
    """Puts `text` between the page's marks `<!-- name -->` and `<!-- /name -->`."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = page.read_text()
    if old.count(begin) != 1 or old.count(end) != 1 or old.index(begin) > old.index(end):
        raise ValueError(f"{page}: expected one {begin} and after it one {end}")
    head, tail = old.split(begin)[0], old.split(end)[1]
    page.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}")
