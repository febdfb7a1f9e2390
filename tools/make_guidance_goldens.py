#!/usr/bin/env python3
"""Writes tests/goldens/guidance.json: transformers' greedy tokens with classifier-free guidance.

    python tools/make_guidance_goldens.py

Needs torch and transformers (version 5); the test does not. The models are those of the beam
search's goldens. None has recurrent state: transformers forgets that of the negative prompt. And
none has a penalty on repetition: there it is of logits that are normalised, and so never above 0.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/models")]

import beam_cases  # noqa: E402

GOLDEN = ROOT / "tests/goldens/guidance.json"
MIN_MARGIN = 1e-3  # in log-probabilities, far above float32's roundings
SETTINGS = [
    {"guidance_scale": 1.5, "prompt": 9, "negative": 5},
    {"guidance_scale": 3.0, "prompt": 4, "negative": 12},
    {"guidance_scale": 0.4, "prompt": 7, "negative": 7},
    {"guidance_scale": 2.0, "prompt": 6, "negative": 0},  # none given: the prompt's last token
]


def greedy(model, ids: list[int], negative: list[int], settings: dict) -> tuple[list[int], float]:
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            negative_prompt_ids=torch.tensor([negative]) if negative else None,
            max_new_tokens=20,
            pad_token_id=0,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            **settings,
        )
    best = torch.stack(out.scores)[:, 0].topk(2).values
    return out.sequences[0, len(ids) :].tolist(), float((best[:, 0] - best[:, 1]).min())


def main() -> None:
    found = []
    for name in ("llama-base", "gpt2-base"):
        with tempfile.TemporaryDirectory() as directory:
            model = beam_cases.load_transformers(beam_cases.write(name, Path(directory) / "model"))
            for case, settings in enumerate(SETTINGS):
                settings = dict(settings)
                lengths = settings.pop("prompt"), settings.pop("negative")
                for attempt in range(40):
                    rng = np.random.default_rng([case, attempt])
                    ids, negative = (rng.integers(0, 60, n).tolist() for n in lengths)
                    tokens, margin = greedy(model, ids, negative, settings)
                    if margin >= MIN_MARGIN:
                        break
                else:
                    raise SystemExit(f"{name}: {settings}: no prompt with a margin")
                options = {**settings, **({"negative_prompt": negative} if negative else {})}
                found.append({"model": name, "prompt": ids, "options": options, "tokens": tokens})
    text = ",\n".join(json.dumps(case) for case in found)
    GOLDEN.write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
