"""Tiny configs of the networks of images; see tools/make_image_goldens.py.

As in tests/models/families.py the names and shapes of tensors are upstream's own and stand in the
golden; the numbers, weights and inputs, are made again from names wherever they are needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/images"
DDPM = {
    "sample_size": 8,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [16, 32],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
SD = {
    "sample_size": 8,
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 2,
    "cross_attention_dim": 12,
}
VAE = {
    "block_out_channels": [16, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 8,
}


@dataclass(frozen=True)
class Case:
    """A config of a class of diffusers, and the shapes of what it is given."""

    class_name: str
    name: str
    config: dict
    inputs: dict[str, tuple[int, ...]]
    timesteps: tuple[float, ...] = field(default=(7.0, 401.0))

    @property
    def id(self) -> str:
        return f"{self.class_name}-{self.name}"

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.id}.npz"

    def arrays(self) -> dict[str, np.ndarray]:
        return {n: 2 * tiny_model.uniform(1, n, shape) for n, shape in self.inputs.items()}

    def guidance(self) -> np.ndarray:
        return tiny_model.uniform(1, "guidance", (2, self.config["time_cond_proj_dim"]))

    def write(self, directory: Path, shapes: dict[str, list[int]], dtype: str = "F32") -> Path:
        """config.json and the tensors that `shapes` name."""
        directory.mkdir(parents=True, exist_ok=True)
        config = {"_class_name": self.class_name, **self.config}
        (directory / "config.json").write_text(json.dumps(config))
        file = directory / "diffusion_pytorch_model.safetensors"
        tiny_model.write_safetensors(file, tensors(shapes), dtype)
        return directory


def tensors(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Weights that keep the variance, norms and biases that matter."""
    made = {}
    for name, shape in shapes.items():
        u = tiny_model.uniform(0, name, tuple(shape))
        if "embedding" in name and len(shape) == 2 and "linear" not in name:
            made[name] = u
        elif len(shape) == 1:
            made[name] = 0.3 * u if name.endswith("bias") else 1 + 0.3 * u
        else:
            made[name] = u * (3 / np.prod(shape[1:])) ** 0.5
        made[name] = made[name].astype(np.float32)
    return made


def image(*shape: int) -> dict[str, tuple[int, ...]]:
    return {"sample": shape}


def text(*shape: int, tokens: int = 5, size: int = 12) -> dict[str, tuple[int, ...]]:
    return {"sample": shape, "encoder_hidden_states": (shape[0], tokens, size)}


CASES = [
    Case("UNet2DModel", "base", DDPM, image(2, 3, 8, 8)),
    Case(
        "UNet2DModel",
        "odd",
        {
            **DDPM,
            "attention_head_dim": None,
            "downsample_padding": 0,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "norm_eps": 1e-6,
            "center_input_sample": True,
        },
        image(2, 3, 12, 8),
    ),
    Case(
        "UNet2DModel",
        "scale-shift",
        {**DDPM, "resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 8},
        image(1, 3, 8, 8),
        (33.0,),
    ),
    Case("UNet2DModel", "classes", {**DDPM, "num_class_embeds": 4}, image(2, 3, 8, 8)),
    Case("UNet2DModel", "fourier", {**DDPM, "time_embedding_type": "fourier"}, image(2, 3, 8, 8)),
    Case(
        "UNet2DModel",
        "resnets",  # as Dhariwal and Nichol's networks (arXiv 2105.05233)
        {
            **DDPM,
            "block_out_channels": [16, 24, 32],
            "down_block_types": ["ResnetDownsampleBlock2D"] + ["AttnDownBlock2D"] * 2,
            "up_block_types": ["AttnUpBlock2D"] * 2 + ["ResnetUpsampleBlock2D"],
            "downsample_type": "resnet",
            "upsample_type": "resnet",
            "resnet_time_scale_shift": "scale_shift",
            "attn_norm_num_groups": 8,
            "time_embedding_type": "learned",
            "num_train_timesteps": 500,
        },
        image(2, 3, 8, 12),
    ),
    Case("UNet2DModel", "no-attention", {**DDPM, "add_attention": False}, image(2, 3, 4, 8)),
    Case("UNet2DConditionModel", "sd1", SD, text(2, 4, 8, 8)),
    Case(
        "UNet2DConditionModel",
        "sd2",
        {**SD, "attention_head_dim": [2, 4], "use_linear_projection": True},
        text(2, 4, 8, 12),
    ),
    Case(
        "UNet2DConditionModel",
        "xl",
        {
            **SD,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "attention_head_dim": [1, 2],
            "transformer_layers_per_block": [1, 2],
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 10,
        },
        {**text(2, 4, 8, 8), "text_embeds": (2, 10), "time_ids": (2, 6)},
    ),
    Case("UNet2DConditionModel", "lcm", {**SD, "time_cond_proj_dim": 20}, text(2, 4, 8, 8)),
    Case("AutoencoderKL", "base", VAE, image(2, 3, 16, 12)),
    Case(
        "AutoencoderKL",
        "flux",
        {**VAE, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False},
        image(1, 3, 8, 8),
    ),
    Case(
        "AutoencoderKL",
        "no-attention",
        {**VAE, "mid_block_add_attention": False},
        image(1, 3, 8, 8),
    ),
    Case(
        "VQModel",
        "base",
        {**VAE, "latent_channels": 3, "num_vq_embeddings": 16, "vq_embed_dim": 4},
        image(2, 3, 8, 8),
    ),
]
