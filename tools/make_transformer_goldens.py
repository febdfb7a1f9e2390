#!/usr/bin/env python3
"""What diffusers answers to the tiny transformers of tests/images/transformer_cases.py.

    python tools/make_transformer_goldens.py [CASE ...]     # none named: all

Needs torch and diffusers; the tests do not. Goldens are those of make_image_goldens.py, with one
answer.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch

TOOLS = Path(__file__).resolve().parent
TESTS = TOOLS.parent / "tests"
sys.path[:0] = [str(TOOLS), str(TESTS), str(TESTS / "images")]
from make_image_goldens import load  # noqa: E402
from transformer_cases import CASES, GUIDANCE, SEEN, SIZE  # noqa: E402


def flux_answer(case, model, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """Its samples come as rows, a patch each, with their places."""
    count, _, height, width = given["sample"].shape
    rows = given.pop("sample").flatten(2).transpose(1, 2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    if case.config.get("guidance_embeds"):
        given["guidance"] = torch.full((count,), GUIDANCE)
    found = model(
        rows,
        timestep=torch.tensor(case.timesteps) / 1000,
        img_ids=torch.stack([0 * x, y, x], dim=-1).reshape(-1, 3).float(),
        txt_ids=torch.zeros(given["encoder_hidden_states"].shape[1], 3),
        **given,
    ).sample
    return found.transpose(1, 2).unflatten(2, (height, width))


def pixart_answer(case, model, given: dict[str, torch.Tensor]) -> torch.Tensor:
    given.pop("pooled_projections")
    count = len(given["sample"])
    sizes = {
        "resolution": torch.tensor(SIZE).repeat(count, 1).float(),
        "aspect_ratio": torch.full((count, 1), SIZE[0] / SIZE[1]),
    }
    return model(
        given.pop("sample"),
        timestep=torch.tensor(case.timesteps),
        encoder_attention_mask=torch.tensor(SEEN),
        added_cond_kwargs=sizes,
        **given,
    ).sample


def answer(case, model) -> torch.Tensor:
    given = {name: torch.tensor(array) for name, array in case.arrays().items()}
    if case.class_name == "FluxTransformer2DModel":
        return flux_answer(case, model, given)
    if case.class_name == "PixArtTransformer2DModel":
        return pixart_answer(case, model, given)
    return model(given.pop("sample"), timestep=torch.tensor(case.timesteps), **given).sample


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    for case in CASES:
        if sys.argv[1:] and case.id not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as directory:
            model, shapes = load(case, Path(directory))
        found = answer(case, model)
        np.savez_compressed(
            case.file,
            shapes=np.array(json.dumps(shapes)),
            made_by=np.array(f"diffusers {diffusers.__version__} torch {torch.__version__}"),
            answer=found.numpy(),
        )
        print(case.id, f"{found.std():.3f}")


if __name__ == "__main__":
    main()
