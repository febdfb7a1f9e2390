#!/usr/bin/env python3
"""What BigGAN of pytorch-pretrained-biggan and StyleGAN2 make with tests/images/gan_cases.py.

    python tools/make_gan_goldens.py

Needs torch and pytorch-pretrained-biggan (that alone: pip install --no-deps); the tests do not.
StyleGAN2's package compiles kernels for a GPU, and its licence is not ours: what stands here in its
place is the paper's method in torch, weight by weight (arXiv 1912.04958, section 2.2: weights are
scaled, brought to length one, and each image is convolved with its own).

A golden is tests/goldens/gans/CASE.npz: shapes, JSON, the names and shapes of tensors; and for each
truncation T, "T" float32 [2, C, S, S], images in about [-1, 1].
"""

from __future__ import annotations

import json
import math
import sys
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / p) for p in ("tests", "tests/images")]
from gan_cases import CASES, GOLDENS, Case  # noqa: E402

Tensors = dict[str, torch.Tensor]


# --- BigGAN ---------------------------------------------------------------------------------------


def biggan(case: Case):
    """The package downloads by boto3, which nothing here needs."""
    for name in ("boto3", "botocore", "botocore.exceptions"):
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["botocore.exceptions"].ClientError = Exception
    from pytorch_pretrained_biggan import BigGAN, BigGANConfig

    model = BigGAN(BigGANConfig.from_dict(case.config)).eval()
    shapes = {n: list(t.shape) for n, t in model.state_dict().items()}
    tensors = {n: torch.tensor(t) for n, t in case.tensors(shapes).items()}
    model.load_state_dict(tensors)
    latents = torch.tensor(case.latents())
    labels = F.one_hot(torch.tensor(case.labels), case.config["num_classes"]).float()
    return shapes, {t: model(latents, labels, t) for t in case.truncations}


# --- StyleGAN2 ------------------------------------------------------------------------------------


def stylegan2_shapes(case: Case) -> dict[str, list[int]]:
    cfg = case.config
    w, z, c, last = (cfg[k] for k in ("w_dim", "z_dim", "c_dim", "img_resolution"))
    shapes: dict[str, list[int]] = {"mapping.w_avg": [w]}
    if c:
        shapes |= {"mapping.embed.weight": [w, c], "mapping.embed.bias": [w]}
    for i in range(cfg["num_mapping_layers"]):
        inputs = (z + (w if c else 0)) if i == 0 else w
        shapes |= {f"mapping.fc{i}.weight": [w, inputs], f"mapping.fc{i}.bias": [w]}
    before = 0
    for side in (2**i for i in range(2, last.bit_length())):
        name, channels = f"synthesis.b{side}", min(cfg["channel_base"] // side, cfg["channel_max"])
        shapes[f"{name}.resample_filter"] = [4, 4]
        layers = [("conv1", channels, channels, 3), ("torgb", channels, cfg["img_channels"], 1)]
        if before:
            layers.insert(0, ("conv0", before, channels, 3))
        else:
            shapes[f"{name}.const"] = [channels, side, side]
        for layer, inputs, outputs, k in layers:
            shapes |= {
                f"{name}.{layer}.affine.weight": [inputs, w],
                f"{name}.{layer}.affine.bias": [inputs],
                f"{name}.{layer}.weight": [outputs, inputs, k, k],
                f"{name}.{layer}.bias": [outputs],
            }
            if layer != "torgb":
                shapes |= {
                    f"{name}.{layer}.noise_const": [side, side],
                    f"{name}.{layer}.noise_strength": [],
                    f"{name}.{layer}.resample_filter": [4, 4],
                }
        before = channels
    return shapes


def dense(t: Tensors, name: str, x: torch.Tensor, rate: float = 1.0) -> torch.Tensor:
    weight = t[f"{name}.weight"] * (rate / math.sqrt(x.shape[1]))
    return F.linear(x, weight, t[f"{name}.bias"] * rate)


def unit(x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def mapped(t: Tensors, cfg: dict, z: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    x = unit(z)
    if labels is not None:
        x = torch.cat([x, unit(dense(t, "mapping.embed", labels))], 1)
    for i in range(cfg["num_mapping_layers"]):
        x = F.leaky_relu(dense(t, f"mapping.fc{i}", x, 0.01), 0.2) * math.sqrt(2)
    return x


def filtered(x: torch.Tensor, taps: torch.Tensor, up: int, pads: tuple[int, int]) -> torch.Tensor:
    """Zeros between pixels and `pads` before and behind, then a convolution, which turns taps."""
    n, c, h, w = x.shape
    wide = torch.zeros(n, c, h * up, w * up)
    wide[:, :, ::up, ::up] = x
    wide = F.pad(wide, (*pads, *pads)).reshape(n * c, 1, h * up + sum(pads), w * up + sum(pads))
    out = F.conv2d(wide, (taps.flip([0, 1]) * 4)[None, None])
    return out.reshape(n, c, *out.shape[2:])


def scaled(t: Tensors, name: str, x: torch.Tensor, w: torch.Tensor, up: bool) -> torch.Tensor:
    """Each image convolved with weights of its own."""
    colours = name.endswith("torgb")
    styles = dense(t, f"{name}.affine", w)
    if colours:
        styles = styles / math.sqrt(x.shape[1])
    found = []
    for image, style in zip(x, styles, strict=True):
        weight = t[f"{name}.weight"] * style[None, :, None, None]
        if not colours:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if up:
            y = F.conv_transpose2d(image[None], weight.transpose(0, 1), stride=2)
            found.append(filtered(y, t[f"{name}.resample_filter"], 1, (1, 1)))
        else:
            found.append(F.conv2d(image[None], weight, padding=weight.shape[-1] // 2))
    return torch.cat(found)


def synthesized(t: Tensors, cfg: dict, w: torch.Tensor) -> torch.Tensor:
    limit = cfg["conv_clamp"] or math.inf
    x = t["synthesis.b4.const"].expand(len(w), -1, -1, -1)
    image = None
    for side in (2**i for i in range(2, cfg["img_resolution"].bit_length())):
        name = f"synthesis.b{side}"
        for layer in ("conv0", "conv1") if side > 4 else ("conv1",):
            full = f"{name}.{layer}"
            x = scaled(t, full, x, w, layer == "conv0")
            x = x + t[f"{full}.noise_const"] * t[f"{full}.noise_strength"]
            x = x + t[f"{full}.bias"][:, None, None]
            x = (F.leaky_relu(x, 0.2) * math.sqrt(2)).clamp(-limit, limit)
        colours = scaled(t, f"{name}.torgb", x, w, False) + t[f"{name}.torgb.bias"][:, None, None]
        colours = colours.clamp(-limit, limit)
        if image is not None:
            colours = filtered(image, t[f"{name}.resample_filter"], 2, (2, 1)) + colours
        image = colours
    return image


def stylegan2(case: Case):
    shapes = stylegan2_shapes(case)
    t = {n: torch.tensor(x) for n, x in case.tensors(shapes).items()}
    labels = None
    if case.labels is not None:
        labels = F.one_hot(torch.tensor(case.labels), case.config["c_dim"]).float()
    styles = mapped(t, case.config, torch.tensor(case.latents()), labels)
    average = t["mapping.w_avg"]
    return shapes, {
        psi: synthesized(t, case.config, torch.lerp(average, styles, psi))
        for psi in case.truncations
    }


@torch.no_grad()
def main() -> None:
    GOLDENS.mkdir(exist_ok=True)
    for case in CASES:
        shapes, images = (biggan if case.is_biggan else stylegan2)(case)
        arrays = {str(t): x.numpy().astype(np.float32) for t, x in images.items()}
        print(case.name, {t: f"{x.mean():.3f} ± {x.std():.3f}" for t, x in arrays.items()})
        made_by = "pytorch-pretrained-biggan 0.1.1" if case.is_biggan else "torch"
        text = {"shapes": json.dumps(shapes), "made_by": f"{made_by}, torch {torch.__version__}"}
        np.savez_compressed(case.file, **arrays, **{n: np.array(v) for n, v in text.items()})


if __name__ == "__main__":
    main()
