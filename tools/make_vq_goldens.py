#!/usr/bin/env python3
"""What torch makes of the tiny VQ-VAE-2s and VQGANs of tests/images/vq_cases.py:

    python tools/make_vq_goldens.py [CASE ...]     # none named: all

Needs torch and diffusers. VQ-VAE-2 is written out here, as the paper and its usual implementation
in torch have it; a VQGAN is a VQModel of diffusers whose tensors get taming-transformers' names. A
golden has shapes (JSON, of the tensors), codes (of VQ-VAE-2: top and bottom) and image, decoded of
them, float32.
"""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import diffusers
import numpy as np
import torch
import torch.nn.functional as F

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "images")]
import networks  # noqa: E402
import tiny_model  # noqa: E402
from vq_cases import CASES, Case  # noqa: E402


class PlainVQVAE2:
    """One function a part, over tensors by name."""

    def __init__(self, config: dict) -> None:
        self.config = config
        self.shapes: dict[str, list[int]] = {}
        width, code = config["channel"], config["embed_dim"]
        pixels = config.get("in_channel", 3)
        self._encoder_shapes("enc_b", pixels, 2)
        self._encoder_shapes("enc_t", width, 1)
        self._conv_shape("quantize_conv_t", code, width, 1)
        self._conv_shape("quantize_conv_b", code, code + width, 1)
        for level in "tb":
            self.shapes[f"quantize_{level}.embed"] = [code, config["n_embed"]]
        self._decoder_shapes("dec_t", code, code, 1)
        self._conv_shape("upsample_t", code, code, 4)
        self._decoder_shapes("dec", 2 * code, pixels, 2)
        made = networks.tensors(self.shapes)
        self.w = {name: torch.from_numpy(tensor) for name, tensor in made.items()}

    def _conv_shape(self, name, first, second, kernel, bias=None) -> None:
        self.shapes[f"{name}.weight"] = [first, second, kernel, kernel]
        self.shapes[f"{name}.bias"] = [first if bias is None else bias]

    def _residual_shapes(self, name: str, first: int) -> None:
        width, inner = self.config["channel"], self.config["n_res_channel"]
        for i in range(first, first + self.config["n_res_block"]):
            self._conv_shape(f"{name}.blocks.{i}.conv.1", inner, width, 3)
            self._conv_shape(f"{name}.blocks.{i}.conv.3", width, inner, 1)

    def _encoder_shapes(self, name: str, inputs: int, halvings: int) -> None:
        width = self.config["channel"]
        self._conv_shape(f"{name}.blocks.0", width // 2, inputs, 4)
        if halvings == 2:
            self._conv_shape(f"{name}.blocks.2", width, width // 2, 4)
        before = width if halvings == 2 else width // 2
        self._conv_shape(f"{name}.blocks.{2 * halvings}", width, before, 3)
        self._residual_shapes(name, 2 * halvings + 1)

    def _decoder_shapes(self, name: str, inputs: int, outputs: int, doublings: int) -> None:
        width, at = self.config["channel"], self.config["n_res_block"] + 2
        self._conv_shape(f"{name}.blocks.0", width, inputs, 3)
        self._residual_shapes(name, 1)
        sizes = [width, width // 2, outputs] if doublings == 2 else [width, outputs]
        for i, (before, after) in enumerate(pairwise(sizes)):
            self._conv_shape(f"{name}.blocks.{at + 2 * i}", before, after, 4, bias=after)

    def _conv(self, name: str, x, **options):
        return F.conv2d(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], **options)

    def _residuals(self, name: str, x, first: int):
        for i in range(first, first + self.config["n_res_block"]):
            h = self._conv(f"{name}.blocks.{i}.conv.1", F.relu(x), padding=1)
            x = x + self._conv(f"{name}.blocks.{i}.conv.3", F.relu(h))
        return F.relu(x)

    def _encode(self, name: str, x, halvings: int):
        for i in range(halvings):
            x = F.relu(self._conv(f"{name}.blocks.{2 * i}", x, stride=2, padding=1))
        x = self._conv(f"{name}.blocks.{2 * halvings}", x, padding=1)
        return self._residuals(name, x, 2 * halvings + 1)

    def _double(self, name: str, x):
        weight, bias = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)

    def _decode(self, name: str, x, doublings: int):
        x = self._residuals(name, self._conv(f"{name}.blocks.0", x, padding=1), 1)
        for i in range(doublings):
            x = F.relu(x) if i else x
            x = self._double(f"{name}.blocks.{self.config['n_res_block'] + 2 + 2 * i}", x)
        return x

    def _codes(self, level: str, x):
        table = self.w[f"quantize_{level}.embed"]
        distances = ((x[:, :, None] - table[None, :, :, None, None]) ** 2).sum(1)
        return distances.argmin(1)

    def _of_codes(self, level: str, codes):
        return self.w[f"quantize_{level}.embed"].T[codes].permute(0, 3, 1, 2)

    def encode(self, image):
        features = self._encode("enc_b", image, 2)
        top = self._codes("t", self._conv("quantize_conv_t", self._encode("enc_t", features, 1)))
        known = self._decode("dec_t", self._of_codes("t", top), 1)
        bottom = self._codes("b", self._conv("quantize_conv_b", torch.cat([known, features], 1)))
        return top, bottom

    def decode(self, top, bottom):
        top = self._double("upsample_t", self._of_codes("t", top))
        return self._decode("dec", torch.cat([top, self._of_codes("b", bottom)], 1), 2)


def vqvae2(case: Case) -> dict[str, np.ndarray]:
    model = PlainVQVAE2(case.config)
    image = torch.from_numpy(2 * tiny_model.uniform(1, "image", case.shape))
    top, bottom = model.encode(image)
    print(
        f"{case.id}: {len(set(top.reshape(-1).tolist()))} codes of the top, "
        f"{len(set(bottom.reshape(-1).tolist()))} of the bottom"
    )
    return {
        "shapes": np.array(json.dumps(model.shapes)),
        "top": top.numpy().astype(np.int32),
        "bottom": bottom.numpy().astype(np.int32),
        "image": model.decode(top, bottom).numpy(),
        "made_by": np.array(f"torch {torch.__version__}"),
    }


def taming_name(name: str, levels: int) -> str | None:
    """diffusers' name of a tensor as taming-transformers has it; None: of the encoder."""
    if name.startswith(("encoder.", "quant_conv.")):
        return None
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    name = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
    for theirs, taming in (
        ("resnets.", "block."),
        ("attentions.", "attn."),
        ("upsamplers.0.", "upsample."),
        ("conv_shortcut", "nin_shortcut"),
        ("group_norm", "norm"),
        ("to_out.0", "proj_out"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("conv_norm_out", "norm_out"),
    ):
        name = name.replace(theirs, taming)
    return name


def vqgan(case: Case) -> dict[str, np.ndarray]:
    dd = case.config["ddconfig"]
    levels = len(dd["ch_mult"])
    attends = [dd["resolution"] >> i in dd["attn_resolutions"] for i in range(levels)]
    model = diffusers.VQModel(
        in_channels=3,
        out_channels=dd["out_ch"],
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=[
            "AttnUpDecoderBlock2D" if attends[i] else "UpDecoderBlock2D"
            for i in reversed(range(levels))
        ],
        block_out_channels=[dd["ch"] * n for n in dd["ch_mult"]],
        layers_per_block=dd["num_res_blocks"],
        latent_channels=dd["z_channels"],
        num_vq_embeddings=case.config["n_embed"],
        vq_embed_dim=case.config["embed_dim"],
        norm_num_groups=32,
    ).eval()
    shapes, theirs = {}, {}
    for name, tensor in model.state_dict().items():
        taming = taming_name(name, levels)
        if taming is None:
            continue
        theirs[name] = taming
        pointwise = ".attn" in taming and taming.endswith(("q.weight", "k.weight", "v.weight"))
        pointwise |= taming.endswith("proj_out.weight")
        shapes[taming] = [*tensor.shape, 1, 1] if pointwise else list(tensor.shape)
    made = networks.tensors(shapes)
    state = {
        name: torch.from_numpy(made[taming].reshape(model.state_dict()[name].shape))
        for name, taming in theirs.items()
    }
    model.load_state_dict(state, strict=False)
    codes = np.random.default_rng(1).integers(0, case.config["n_embed"], case.shape)
    count, height, width = case.shape
    latents = model.quantize.get_codebook_entry(
        torch.from_numpy(codes.reshape(-1)), (count, height, width, case.config["embed_dim"])
    )
    image = model.decode(latents, force_not_quantize=True).sample
    print(f"{case.id}: std {image.std():.2f}")
    return {
        "shapes": np.array(json.dumps(shapes)),
        "codes": codes.astype(np.int32),
        "image": image.numpy(),
        "made_by": np.array(f"diffusers {diffusers.__version__}"),
    }


def main() -> None:
    names = sys.argv[1:]
    torch.set_num_threads(1)
    for case in CASES:
        if not names or case.id in names:
            with torch.no_grad():
                golden = {"VQVAE2": vqvae2, "VQGAN": vqgan}[case.kind](case)
            np.savez_compressed(case.file, **golden)


if __name__ == "__main__":
    main()
