#!/usr/bin/env python3
"""What transformers' Janus makes of prompts:  python tools/make_janus_goldens.py [CASE ...]

Needs torch and transformers (version 5); the tests need none. A golden is
tests/goldens/images/Janus-CASE.npz:

    shapes   JSON, the names and shapes of the model's tensors
    prompt   int32 [T], ids that end with the one that begins an image
    codes    int32 [h · w], the greedy codes with the usual guidance
    image    float32 [3, H, W], decoded of them
    logits   float32 [T, text ids], of the prompt's text
    text     int32 [16], its greedy continuation
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "images")]
import janus_cases  # noqa: E402

MIN_MARGIN = 1e-2  # of a greedy code, in logits


class Margins(transformers.LogitsProcessor):
    """Notes by how much the best of guided logits leads; the guidance stands before it."""

    def __init__(self) -> None:
        self.least = np.inf

    def __call__(self, input_ids, scores):
        guided = scores[1:] + janus_cases.GENERATION["guidance_scale"] * (scores[:1] - scores[1:])
        best = guided[0].topk(2).values
        self.least = min(self.least, float(best[0] - best[1]))
        return scores


def load(case: janus_cases.Case, directory: Path):
    config = transformers.JanusConfig(**case.config())
    kind = transformers.JanusForConditionalGeneration
    kind(config).save_pretrained(directory / "shapes")
    from safetensors import safe_open

    with safe_open(directory / "shapes/model.safetensors", "np") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    case.write(directory / "model", shapes)
    model, info = kind.from_pretrained(
        directory / "model", attn_implementation="eager", output_loading_info=True
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            raise SystemExit(f"{case.name}: {problem}: {info[problem]}")
    return model.eval(), shapes


@torch.no_grad()
def make(case: janus_cases.Case, directory: Path) -> dict[str, np.ndarray]:
    model, shapes = load(case, directory)
    for attempt in range(200):
        rng = np.random.default_rng(attempt)
        words = rng.integers(8, janus_cases.TEXT, 9).tolist()
        prompt = [janus_cases.BOS, *words, janus_cases.BEGIN]
        ids, margins = torch.tensor([prompt]), Margins()
        codes = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_mode="image",
            do_sample=False,
            logits_processor=transformers.LogitsProcessorList([margins]),
        )[0]
        text = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=16
        )[0, len(prompt) :]
        if margins.least >= MIN_MARGIN and len(set(codes.tolist())) >= 4:
            break
    else:
        raise SystemExit(f"{case.name}: the greedy codes lead by {margins.least} at most")
    print(f"{case.name}: margin {margins.least:.3f}, codes {codes.tolist()}")
    image = model.decode_image_tokens(codes[None])[0].permute(2, 0, 1)
    return {
        "shapes": np.array(json.dumps(shapes)),
        "prompt": np.array(prompt, np.int32),
        "codes": codes.numpy().astype(np.int32),
        "image": image.numpy(),
        "logits": model(ids).logits[0].numpy(),
        "text": text.numpy().astype(np.int32),
        "made_by": np.array(f"transformers {transformers.__version__}"),
    }


def main() -> None:
    names = sys.argv[1:]
    for case in janus_cases.CASES:
        if not names or case.name in names:
            with tempfile.TemporaryDirectory() as directory:
                np.savez_compressed(case.file, **make(case, Path(directory)))


if __name__ == "__main__":
    main()
