#!/usr/bin/env python3
"""Writes tests/goldens/sampler.json: what transformers' logits processors leave of some logits.

    python tools/make_sampler_goldens.py

Needs torch and transformers; the test does not. A case is the logits, the tokens seen, the
keywords, and the probabilities after all processors, in the order in which `generate` runs them.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from transformers.generation import logits_process as hf

GOLDEN = Path(__file__).resolve().parents[1] / "tests/goldens/sampler.json"
V = 60
CASES: list[dict] = [
    {"temperature": 1.0},
    {"temperature": 0.6},
    {"temperature": 1.7, "top_k": 12},
    {"temperature": 1.0, "top_p": 0.75},
    {"temperature": 1.0, "min_p": 0.2},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.9},
    {"temperature": 0.8, "top_k": 20, "top_p": 0.95, "min_p": 0.1},
    {"temperature": 1.3, "top_p": 0.9, "min_p": 0.02},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_p": 0.01},
    {"temperature": 0.9, "repetition_penalty": 1.4},
    {"temperature": 0.9, "repetition_penalty": 0.7, "top_k": 15, "top_p": 0.8, "min_p": 0.05},
]


def probabilities(logits: np.ndarray, seen: list[int], settings: dict) -> list[float]:
    scores, ids = torch.tensor(logits)[None], torch.tensor(seen)[None]
    steps = []
    if "repetition_penalty" in settings:
        steps.append(hf.RepetitionPenaltyLogitsProcessor(settings["repetition_penalty"]))
    steps.append(hf.TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        steps.append(hf.TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        steps.append(hf.TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        steps.append(hf.MinPLogitsWarper(settings["min_p"]))
    for step in steps:
        scores = step(ids, scores)
    return scores.double().softmax(-1)[0].tolist()


def main() -> None:
    rng = np.random.default_rng(20)
    cases = []
    for settings in CASES:
        logits = (rng.normal(size=V) * 2).astype(np.float32)
        seen = rng.integers(0, V, size=12).tolist()
        result = probabilities(logits, seen, settings)
        case = {"settings": settings, "logits": logits.tolist(), "seen": seen}
        cases.append({**case, "probabilities": [round(p, 9) for p in result]})
    GOLDEN.write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


if __name__ == "__main__":
    main()
