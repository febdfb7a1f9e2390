"""Tiny VQ-VAE-2s and VQGANs, their numbers made again from names, as in networks.py; see
tools/make_vq_goldens.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import networks
import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/images"


@dataclass(frozen=True)
class Case:
    """shape: of the image that is encoded, or of the codes that are decoded."""

    kind: str
    name: str
    config: dict
    shape: tuple[int, ...]

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.name}"

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.id}.npz"

    def write(self, directory: Path, shapes: dict[str, list[int]], **changes: object) -> Path:
        """config.json, with changes, and the tensors that `shapes` name."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps({**self.config, **changes}))
        file = directory / "model.safetensors"
        tiny_model.write_safetensors(file, networks.tensors(shapes))
        return directory


VQVAE2 = {"channel": 16, "n_res_block": 2, "n_res_channel": 6, "embed_dim": 5, "n_embed": 20}
DDCONFIG = {
    "z_channels": 6,
    "resolution": 16,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 32,
    "ch_mult": [1, 2],
    "num_res_blocks": 1,
    "attn_resolutions": [8],
    "double_z": False,
    "dropout": 0.0,
}
VQGAN = {"model_type": "vqgan", "n_embed": 24, "embed_dim": 5, "ddconfig": DDCONFIG}
CASES = [
    Case("VQVAE2", "base", VQVAE2, (2, 3, 16, 24)),
    Case("VQVAE2", "plain", {**VQVAE2, "n_res_block": 0, "in_channel": 1}, (1, 1, 8, 8)),
    Case("VQGAN", "base", VQGAN, (2, 8, 8)),
    Case(
        "VQGAN",
        "levels",
        {
            **VQGAN,
            "ddconfig": {
                **DDCONFIG,
                "ch_mult": [1, 1, 2],
                "attn_resolutions": [16, 4],
                "num_res_blocks": 2,
            },
        },
        (1, 4, 4),
    ),
    Case(
        "VQGAN",
        "no-attention",
        {**VQGAN, "ddconfig": {**DDCONFIG, "attn_resolutions": []}},
        (1, 8, 4),
    ),
]
