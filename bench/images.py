#!/usr/bin/env python3
"""A UNet or a decoder of real size, random weights: genfast beside its peers, in one run.

CONFIG.json is that of a UNet2DConditionModel or an AutoencoderKL (Stable Diffusion's). Every engine
lives in a process of its own and sleeps while another is timed: all at once, in all formats, they
need the memory of ten copies of the weights. Its first forward is checked against PyTorch's in
float32. A row is the median of a forward's time by the clock, of all processors together (which
other work on the machine disturbs less), how many times as fast as PyTorch's in bfloat16 and in
float32 it is, by processor time, and how far off PyTorch's in float32 its answer is.

Peers, all optional but torch and diffusers:
  pip install torch diffusers openvino onnxruntime onnx
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from engines.worker import Worker, in_another_process, installed
from image_engines import ENGINES
from image_engines.networks import NETWORKS
from image_engines.torch_ import save_random

_EPILOG = """\
examples:
  python bench/images.py vae/config.json                     every engine, in every format it has
  python bench/images.py unet/config.json --engines torch genfast --formats bf16 --threads 1
  GENFAST_ISA=amx python bench/images.py unet/config.json
"""
# Of the norm, from PyTorch in float32. Winograd's way is genfast's alone.
_LIMITS = {"f32": 1e-3, "bf16": 0.05, "int8": 0.2}
_LIMITS |= {f"{fmt}-winograd": limit for fmt, limit in _LIMITS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("config", type=Path)
    add("--work", type=Path, help="a folder that keeps the weights and what is made of them")
    add("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    add("--formats", nargs="+", choices=_LIMITS, default=list(_LIMITS))
    add("--threads", type=int, default=2)
    add("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        _measure(args, args.work or Path(name))


def _measure(args: argparse.Namespace, work: Path) -> None:
    config = json.loads(args.config.read_text())
    network = NETWORKS.get(config["_class_name"])
    if network is None:
        raise SystemExit(f"{args.config}: _class_name is {config['_class_name']}: {[*NETWORKS]}")
    model = work / config["_class_name"]
    if not (model / "config.json").exists():
        in_another_process(save_random, config, model)
    inputs = network.inputs(config, np.random.default_rng(0))
    names, missing = installed(args.engines, ENGINES)
    for name, why in missing.items():
        print(f"{name}: {why}")
    with Worker("torch", model, "f32", args.threads, work, ENGINES) as torch:
        expected = torch("forward", *inputs)
    workers, off = {}, {}
    for name in names:
        in_another_process(ENGINES[name].engine().convert, model, work)
        for fmt in args.formats:
            if fmt in ENGINES[name].engine().FORMATS:
                worker = Worker(name, model, fmt, args.threads, work, ENGINES)
                error = np.linalg.norm(worker("forward", *inputs) - expected)
                off[name, fmt] = error / np.linalg.norm(expected)
                if not off[name, fmt] < _LIMITS[fmt]:
                    raise SystemExit(f"{name} {fmt} is {off[name, fmt]:.3f} off PyTorch f32")
                workers[name, fmt] = worker
    times: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in workers}
    for _ in range(args.rounds):
        for key, worker in workers.items():
            times[key].append(worker("seconds", *inputs))
    for worker in workers.values():
        worker.close()
    heads = ("x torch bf16", "x torch f32", "off")
    print(f"{'':22} {'clock':>8} {'processor':>10} " + " ".join(f"{head:>12}" for head in heads))
    for key, taken in times.items():
        clock, processor = (statistics.median(part) for part in zip(*taken, strict=True))
        print(
            f"{' '.join(key):22} {clock:7.2f}s {processor:9.2f}s"
            f" {_ratio(times, 'bf16', key):>12} {_ratio(times, 'f32', key):>12} {off[key]:12.1e}"
        )


def _ratio(times, fmt: str, key: tuple[str, str]) -> str:
    """The median of the rounds' own ratios, since a machine's speed drifts between rounds."""
    pairs = zip(times.get(("torch", fmt), []), times[key], strict=False)
    ratios = [base / own for (_, base), (_, own) in pairs]
    return f"{statistics.median(ratios):.2f}" if ratios else ""


if __name__ == "__main__":
    main()
