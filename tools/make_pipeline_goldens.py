#!/usr/bin/env python3
"""What diffusers' pipelines make with the tiny networks of tests/images/tiny_pipelines.py.

    python tools/make_pipeline_goldens.py [KIND ...]     # none named: all

Needs torch, diffusers and transformers; the tests do not. A golden is
tests/goldens/pipelines/KIND.npz: the names and shapes of tensors, and for each scheduler the images
[N, H, W, 3] that 10 steps make of the noise that genfast draws, which is given to diffusers.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/images")]
import tiny_pipelines as tiny  # noqa: E402
from scheduler_cases import CLASS_NAMES  # noqa: E402


def file_of(name: str):
    """A module of genfast that needs NumPy alone, without genfast."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"python/genfast/images/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


noise = file_of("noise")


def shapes_of(kind: str) -> dict[str, dict[str, list[int]]]:
    found = {}
    for name, (library, class_name, config) in tiny.PIPELINES[kind].components.items():
        made = getattr(diffusers if library == "diffusers" else transformers, class_name)
        if library == "diffusers":
            model = made(**config)
        else:
            fields = {k: v for k, v in config.items() if k != "model_type"}
            model = made(made.config_class(**fields))
        found[name] = {n: list(t.shape) for n, t in model.state_dict().items()}
        unsaved = ("position_ids", "encoder.embed_tokens.weight")  # no weight, and one that is tied
        found[name] = {n: s for n, s in found[name].items() if not n.endswith(unsaved)}
    return found


def schedulers() -> dict[str, tuple[type, dict]]:
    """By genfast's names for `generate(scheduler=…)`."""
    classes = {name: getattr(diffusers, kind) for name, kind in CLASS_NAMES.items()}
    return {
        "ddpm": (classes["ddpm"], {}),
        "ddim": (classes["ddim"], {}),
        "pndm": (classes["pndm"], {"skip_prk_steps": True}),
        "euler": (classes["euler"], {}),
        "euler_ancestral": (classes["ancestral"], {}),
        "dpm++": (classes["dpm"], {}),
        "dpm++_karras": (classes["dpm"], {"use_karras_sigmas": True}),
        "lcm": (classes["lcm"], {}),
    }


@torch.no_grad()
def images(pipe, **options) -> np.ndarray:
    """With the noise of steps that genfast draws; `step` counts the calls of the scheduler."""
    calls = 0
    module = importlib.import_module(type(pipe.scheduler).__module__)
    step = pipe.scheduler.step

    def drawn(shape, **_):
        return torch.tensor(noise.batch(tiny.SEED, 1 + calls, shape))

    def counted(*args, **kwargs):
        nonlocal calls
        result = step(*args, **kwargs)
        calls += 1
        return result

    if hasattr(module, "randn_tensor"):
        module.randn_tensor = drawn
    pipe.scheduler.step = counted
    return pipe(output_type="np", num_inference_steps=tiny.STEPS, **options).images


def make(kind: str, directory: Path) -> dict[str, np.ndarray]:
    shapes = shapes_of(kind)
    tiny.write(directory, kind, shapes)
    made = getattr(diffusers, tiny.PIPELINES[kind].class_name)
    more = (
        {"safety_checker": None, "requires_safety_checker": False}
        if kind in ("sd", "inpaint")
        else {}
    )
    pipe = made.from_pretrained(directory, **more)
    pipe.set_progress_bar_config(disable=True)
    found = KINDS[kind](pipe)
    found = {name: array.astype(np.float32) for name, array in found.items()}
    return {"shapes": np.array(json.dumps(shapes)), **found}


def told(pipe, channels: int) -> dict:
    """What most pipelines are called with."""
    latents = noise.batch(tiny.SEED, noise.INITIAL, (2, channels, *tiny.LATENTS[2:]))
    common = {"prompt": tiny.PROMPTS, "guidance_scale": tiny.GUIDANCE}
    return {**common, "latents": torch.tensor(latents), "height": 16, "width": 16}


def unet_images(pipe) -> dict[str, np.ndarray]:
    common = told(pipe, 4)
    found = {}
    for name, (scheduler, fields) in schedulers().items():
        pipe.scheduler = scheduler.from_config({**tiny.DDIM, **fields})
        found[name] = images(pipe, **common, negative_prompt=[tiny.NEGATIVE] * 2)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(tiny.DDIM)
    found["no_negative"] = images(pipe, **common)
    pipe.scheduler = diffusers.DDIMScheduler.from_config(tiny.DDIM)
    found["unguided"] = images(pipe, **{**common, "guidance_scale": 1.0})
    return found


def filled(pipe) -> dict[str, np.ndarray]:
    """With the likeliest latents of what is kept, as genfast takes them; from noise alone, and
    from a picture that is half noise."""
    module = importlib.import_module(type(pipe).__module__)
    module.retrieve_latents = lambda encoded, **_: encoded.latent_dist.mode()
    common = told(pipe, pipe.vae.config.latent_channels)
    latents = common.pop("latents")
    module.randn_tensor = lambda *_, **__: latents
    common |= {"image": tiny.picture(1)[None], "mask_image": tiny.half()}
    return {
        "filled": images(pipe, **common, strength=1.0),
        "changed": images(pipe, **common, strength=0.5),
    }


def dit_images(pipe) -> dict[str, np.ndarray]:
    """Its pipeline draws the latents itself."""
    module = importlib.import_module(type(pipe).__module__)
    latents = noise.batch(tiny.SEED, noise.INITIAL, (2, *tiny.LATENTS[1:]))
    module.randn_tensor = lambda *_, **__: torch.tensor(latents)
    return {"ddim": images(pipe, class_labels=[3, 1], guidance_scale=tiny.GUIDANCE)}


def sd3_images(pipe) -> dict[str, np.ndarray]:
    common = told(pipe, 16)
    found = {
        "negative": images(pipe, **common, negative_prompt=[tiny.NEGATIVE] * 2),
        "no_negative": images(pipe, **common),
        "unguided": images(pipe, **{**common, "guidance_scale": 1.0}),
    }
    plain, kind = pipe.scheduler, type(pipe.scheduler)
    pipe.scheduler = kind.from_config({**tiny.FLOW, "shift": 3.0, "use_dynamic_shifting": True})
    found["dynamic"] = images(pipe, **common)
    pipe.scheduler, pipe.text_encoder_3 = plain, None
    return {**found, "no_t5": images(pipe, **common)}


def flux_images(pipe) -> dict[str, np.ndarray]:
    common = told(pipe, 16)
    common["latents"] = pipe._pack_latents(common["latents"], *common["latents"].shape)
    length = 512 if pipe.transformer.config.guidance_embeds else 256
    return {"images": images(pipe, **common, max_sequence_length=length)}


def pixart_images(pipe) -> dict[str, np.ndarray]:
    """alpha tells sizes to those whose configs say that they are the large ones."""
    if pipe.transformer.config.use_additional_conditions:
        pipe.transformer.register_to_config(sample_size=128)
    common = {**told(pipe, 4), "use_resolution_binning": False, "clean_caption": False}
    return {
        "negative": images(pipe, **common, negative_prompt=[tiny.NEGATIVE] * 2),
        "no_negative": images(pipe, **common),
    }


KINDS = {"sd": unet_images, "xl": unet_images, "dit": dit_images, "sd3": sd3_images}
KINDS |= {"flux-dev": flux_images, "flux-schnell": flux_images, "inpaint": filled}
KINDS |= {"flux-fill": filled, "xl-inpaint": filled}
KINDS |= {"pixart-alpha": pixart_images, "pixart-sigma": pixart_images}


def main() -> None:
    torch.set_num_threads(1)
    tiny.GOLDENS.mkdir(exist_ok=True)
    for kind in sys.argv[1:] or tiny.PIPELINES:
        with tempfile.TemporaryDirectory() as directory:
            arrays = make(kind, Path(directory) / kind)
        arrays["made_by"] = np.array(f"diffusers {diffusers.__version__}")
        np.savez_compressed(tiny.GOLDENS / f"{kind}.npz", **arrays)
        print(kind, {n: f"{a.std():.3f}" for n, a in arrays.items() if a.dtype == np.float32})


if __name__ == "__main__":
    main()
