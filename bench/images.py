#!/usr/bin/env python3
"""Whole image networks of real sizes with random weights, beside PyTorch in the same run.

    python bench/images.py CONFIG.json [--side 64] [--formats bf16 int8] [--threads 1] [--rounds 3]

CONFIG.json is that of a UNet2DConditionModel (Stable Diffusion's). Needs torch and diffusers. Runs
are interleaved; a row is the median of what a forward took of the process's own time (all threads
together, so other work on the machine counts little), and how many times PyTorch bfloat16's.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

FORMATS = {
    "f32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"dtype": "bfloat16", "quantize": "int8"},
}


def peer(config: dict, directory: Path, threads: int, inputs: dict) -> Callable[[], np.ndarray]:
    """Saves random weights as bfloat16 -> a forward of PyTorch's in that type."""
    import torch
    from diffusers import UNet2DConditionModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = UNet2DConditionModel.from_config(config).eval()
    torch.set_default_dtype(torch.float32)
    model.save_pretrained(directory)
    sample, text = (torch.tensor(inputs[name]).bfloat16() for name in ("sample", "text"))

    def forward() -> np.ndarray:
        with torch.no_grad():
            return model(sample, inputs["timestep"], text).sample.float().numpy()

    return forward


def ours(directory: Path, format: str, threads: int, isa: str, inputs: dict):
    from genfast.images.models.unet2d_condition import UNet2DConditionModel

    model = UNet2DConditionModel(directory, threads=threads, isa=isa, **FORMATS[format])
    return lambda: model(inputs["sample"], inputs["timestep"], inputs["text"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--side", type=int, default=64, help="latents of a side")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["bf16", "int8"])
    parser.add_argument("--isas", nargs="+", default=[""])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    config = json.loads(args.config.read_text())
    rng = np.random.default_rng(0)
    inputs = {
        "sample": rng.normal(size=(1, config["in_channels"], args.side, args.side)),
        "text": rng.normal(size=(1, 77, config["cross_attention_dim"])),
        "timestep": 501,
    }
    with tempfile.TemporaryDirectory() as name:
        runs = {"torch bf16": peer(config, Path(name), args.threads, inputs)}
        for format in args.formats:
            for isa in args.isas:
                label = f"genfast {format} {isa}".strip()
                runs[label] = ours(Path(name), format, args.threads, isa, inputs)
        expected = runs["torch bf16"]()
        seconds: dict[str, list[float]] = {label: [] for label in runs}
        for label, run in runs.items():  # the first run of each is also its check
            got = run()
            off = np.linalg.norm(got - expected) / np.linalg.norm(expected)
            if not off < 0.2:
                raise SystemExit(f"{label} is {off:.3f} of the norm away from PyTorch")
        for _ in range(args.rounds):
            for label, run in runs.items():
                start = time.process_time()
                run()
                seconds[label].append(time.process_time() - start)
    base = statistics.median(seconds["torch bf16"])
    for label, times in seconds.items():
        median = statistics.median(times)
        print(f"{label:24} {median:8.2f} s of processor time  {base / median:5.2f}x torch bf16")


if __name__ == "__main__":
    main()
