#!/usr/bin/env python3
"""What diffusers answers to the tiny transformers of tests/images/sd3_cases.py.

    python tools/make_sd3_goldens.py

Needs torch and diffusers; the tests do not. Goldens are those of make_image_goldens.py, with one
answer: velocity.
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
from sd3_cases import CASES  # noqa: E402


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    for case in CASES:
        with tempfile.TemporaryDirectory() as directory:
            model, shapes = load(case, Path(directory))
        given = {name: torch.tensor(array) for name, array in case.arrays().items()}
        found = model(given.pop("sample"), timestep=torch.tensor(case.timesteps), **given).sample
        np.savez_compressed(
            case.file,
            shapes=np.array(json.dumps(shapes)),
            made_by=np.array(f"diffusers {diffusers.__version__} torch {torch.__version__}"),
            velocity=found.numpy(),
        )
        print(case.id, f"{found.std():.3f}")


if __name__ == "__main__":
    main()
