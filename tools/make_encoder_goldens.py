#!/usr/bin/env python3
"""What transformers answers to the tiny text encoders of tests/images/encoders.py.

    python tools/make_encoder_goldens.py

Needs torch and transformers; the tests do not. A golden is tests/goldens/images/CASE.npz: the
names and shapes of tensors as transformers saves them, and its answers.
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
from encoders import CASES, IDS, SEEN, Encoder  # noqa: E402


def load(case: Encoder, directory: Path):
    """-> the encoder with the case's weights, and their shapes."""
    kind = getattr(transformers, case.class_name)
    config = kind.config_class(**case.config)
    kind(config).save_pretrained(directory)
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", "np") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    case.write(directory, shapes)
    model, info = kind.from_pretrained(directory, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            raise SystemExit(f"{case.id}: {problem}: {info[problem]}")
    return model.float().eval(), shapes


@torch.no_grad()
def answers(case: Encoder, model) -> dict[str, torch.Tensor]:
    ids = torch.tensor(IDS)
    if case.is_t5:
        return {
            "states": model(ids).last_hidden_state,
            "masked": model(ids, attention_mask=torch.tensor(SEEN).long()).last_hidden_state,
        }
    found = model(ids, output_hidden_states=True)
    pooled = found.text_embeds if "text_embeds" in found else found.pooler_output
    return {
        "last": found.last_hidden_state,
        "before_last": found.hidden_states[-2],
        "pooled": pooled,
    }


def main() -> None:
    torch.set_num_threads(1)
    for case in CASES:
        with tempfile.TemporaryDirectory() as directory:
            model, shapes = load(case, Path(directory))
        found = {name: tensor.numpy() for name, tensor in answers(case, model).items()}
        np.savez_compressed(
            case.file,
            shapes=np.array(json.dumps(shapes)),
            made_by=np.array(f"transformers {transformers.__version__} torch {torch.__version__}"),
            **found,
        )
        print(case.id, {name: f"{array.std():.3f}" for name, array in found.items()})


if __name__ == "__main__":
    main()
