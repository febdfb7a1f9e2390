#!/usr/bin/env python3
"""What diffusers makes with the LoRAs of tests/images/lora_cases.py in the tiny pipelines.

    python tools/make_lora_goldens.py

Needs torch, diffusers, transformers and peft; the tests do not. A golden is
tests/goldens/loras/CASE.npz:

    shapes     JSON, of each LoRA, the names and shapes of the tensors that diffusers saved
    metadata   JSON, of each, what it put into the file's metadata
    networks   JSON, those of the components' tensors
    images     float32 [2, 16, 16, 3], with all of them
    plain      without any
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import peft
import torch
import transformers.integrations.peft
from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/images"), str(ROOT / "tools")]
import tiny_pipelines as tiny  # noqa: E402
from lora_cases import CASES, Case, Lora  # noqa: E402
from make_pipeline_goldens import noise, shapes_of  # noqa: E402

# transformers 5 asks for a PEFT that is newer than the newest release; nothing here needs it.
transformers.integrations.peft.MIN_PEFT_VERSION = peft.__version__


def opened(case: Case, directory: Path):
    made = getattr(diffusers, tiny.PIPELINES[case.pipeline][0])
    more = {"safety_checker": None, "requires_safety_checker": False}
    pipe = made.from_pretrained(directory, **(more if case.pipeline == "sd" else {}))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def saved(pipe, lora: Lora, directory: Path) -> tuple[dict, dict]:
    """Shapes and metadata of what diffusers writes for fresh LoRAs."""
    layers, configs = {}, {}
    for name, component in pipe.components.items():
        if name != "unet" and not name.startswith("text_encoder"):
            continue
        config = peft.LoraConfig(**(lora.unet if name == "unet" else lora.text))
        component.add_adapter(config)
        layers[name] = peft.get_peft_model_state_dict(component)
        configs[name] = component.peft_config["default"]
    names = {n: f"{n}_lora_layers" for n in layers}
    told = {f"{n}_lora_adapter_metadata": config.to_dict() for n, config in configs.items()}
    type(pipe).save_lora_weights(directory, **{names[n]: x for n, x in layers.items()}, **told)
    with safe_open(directory / "pytorch_lora_weights.safetensors", "np") as file:
        shapes = {n: list(file.get_slice(n).get_shape()) for n in sorted(file.keys())}
        metadata = dict(file.metadata())
    if lora.spelling != "diffusers":  # no other kind has it
        metadata.pop("lora_adapter_metadata")
    return shapes, metadata


def images(pipe) -> np.ndarray:
    """Ten steps of DDIM from genfast's noise."""
    latents = torch.tensor(noise.batch(tiny.SEED, noise.INITIAL, tiny.LATENTS))
    options = {"height": 16, "width": 16, "guidance_scale": tiny.GUIDANCE, "latents": latents}
    steps = {"num_inference_steps": tiny.STEPS, "output_type": "np"}
    return pipe(tiny.PROMPTS, **options, **steps).images.astype(np.float32)


@torch.no_grad()
def make(case: Case, directory: Path) -> dict[str, np.ndarray]:
    networks = shapes_of(case.pipeline)
    base = tiny.write(directory / "base", case.pipeline, networks)
    told = [saved(opened(case, base), lora, directory / "fresh") for lora in case.loras]
    pipe = opened(case, base)
    plain = images(pipe)
    for i, (lora, (shapes, metadata)) in enumerate(zip(case.loras, told, strict=True)):
        file = lora.write(directory / f"lora_{i}/lora.safetensors", shapes, metadata)
        pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name=str(i))
    names = [str(i) for i in range(len(case.loras))]
    pipe.set_adapters(names, [lora.strength for lora in case.loras])
    found = images(pipe)
    print(f"{case.name}: the LoRAs move pixels by {np.abs(found - plain).mean():.3f}")
    return {
        "shapes": np.array(json.dumps([shapes for shapes, _ in told])),
        "metadata": np.array(json.dumps([metadata for _, metadata in told])),
        "networks": np.array(json.dumps(networks)),
        "images": found,
        "plain": plain,
        "made_by": np.array(f"diffusers {diffusers.__version__} peft {peft.__version__}"),
    }


def main() -> None:
    torch.set_num_threads(1)
    for case in CASES:
        case.file.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as directory:
            np.savez_compressed(case.file, **make(case, Path(directory)))


if __name__ == "__main__":
    main()
