#!/usr/bin/env python3
"""What diffusers answers to the tiny networks of tests/images/networks.py.

    python tools/make_image_goldens.py [CASE ...]     # none named: all

Needs torch and diffusers; the tests do not. A golden is tests/goldens/images/CASE.npz:

    shapes        JSON, the names and shapes of the network's tensors, as diffusers saves them
    …             float32, what it answers, by name
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "images")]
from networks import CASES, GOLDENS, Case  # noqa: E402


def load(case: Case, directory: Path):
    """-> the network with the case's weights, and their shapes."""
    kind = getattr(diffusers, case.class_name)
    shapes = {name: list(t.shape) for name, t in kind(**case.config).state_dict().items()}
    case.write(directory, shapes)
    model, info = kind.from_pretrained(directory, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            raise SystemExit(f"{case.id}: {problem}: {info[problem]}")
    return model.float().eval(), shapes


@torch.no_grad()
def answers(case: Case, model) -> dict[str, torch.Tensor]:
    given = {name: torch.tensor(array) for name, array in case.arrays().items()}
    sample = given.pop("sample")
    if case.class_name == "AutoencoderKL":
        latents = model.encode(sample).latent_dist
        image = model.decode(latents.mean).sample
        return {"mean": latents.mean, "log_variance": latents.logvar, "image": image}
    if case.class_name == "VQModel":
        latents = model.encode(sample).latents
        _, _, (_, _, codes) = model.quantize(latents)
        shape = (len(sample), *latents.shape[2:])
        image = model.decode(latents).sample
        return {"latents": latents, "codes": codes.reshape(shape).int(), "image": image}
    time = torch.tensor(case.timesteps)
    if case.config.get("time_embedding_type") == "learned":
        time = time.long()  # rows of a table
    if case.class_name == "UNet2DModel":
        classes = torch.tensor([1, 3]) if "num_class_embeds" in case.config else None
        return {"eps": model(sample, time, classes).sample}
    states = given.pop("encoder_hidden_states")
    guidance = None
    if "time_cond_proj_dim" in case.config:
        guidance = torch.tensor(case.guidance())
    eps = model(sample, time, states, timestep_cond=guidance, added_cond_kwargs=given).sample
    return {"eps": eps}


def main() -> None:
    torch.set_num_threads(1)
    GOLDENS.mkdir(exist_ok=True)
    for case in CASES:
        if sys.argv[1:] and case.id not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as directory:
            model, shapes = load(case, Path(directory))
        found = {name: tensor.numpy() for name, tensor in answers(case, model).items()}
        np.savez_compressed(
            case.file,
            shapes=np.array(json.dumps(shapes)),
            made_by=np.array(f"diffusers {diffusers.__version__} torch {torch.__version__}"),
            **found,
        )
        print(case.id, {name: f"{array.std():.3f}" for name, array in found.items()})


if __name__ == "__main__":
    main()
