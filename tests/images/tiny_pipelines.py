"""Whole pipelines of tiny random networks; see tools/make_pipeline_goldens.py.

Names and shapes of tensors are diffusers' and transformers' own and stand in the golden; the
numbers are made again from names, as in networks.py.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import tiny_model
from networks import tensors

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/pipelines"
PROMPTS, NEGATIVE = ["a cab", "deed"], "bad"
SEED, STEPS, GUIDANCE = 11, 10, 3.0
LATENTS = (2, 4, 8, 8)
SD_SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "clip_sample": False,
    "set_alpha_to_one": False,
}
UNET = {
    "sample_size": 8,
    "block_out_channels": [16, 32],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "attention_head_dim": 2,
    "cross_attention_dim": 24,
}
VAE = {
    "sample_size": 16,
    "block_out_channels": [16, 32],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 4,
}
LETTERS = "abcde"
VOCABULARY = [
    *LETTERS,
    *(f"{letter}</w>" for letter in LETTERS),
    "ab</w>",
    "<|startoftext|>",
    "<|endoftext|>",
]
CLIP = {
    "model_type": "clip_text_model",
    "vocab_size": len(VOCABULARY),
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 8,
    "bos_token_id": len(VOCABULARY) - 2,
    "eos_token_id": len(VOCABULARY) - 1,
    "pad_token_id": len(VOCABULARY) - 1,
    "projection_dim": 20,
}
XL_UNET = {
    **UNET,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "attention_head_dim": [1, 2],
    "transformer_layers_per_block": [1, 2],
    "use_linear_projection": True,
    "cross_attention_dim": 48,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 20,
}
DIT = {
    "sample_size": 8,
    "num_layers": 2,
    "patch_size": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 8,
    "num_embeds_ada_norm": 1000,
}
# kind -> class of the pipeline; component -> library, class, config
PIPELINES: dict[str, tuple[str, dict[str, tuple[str, str, dict]]]] = {
    "sd": (
        "StableDiffusionPipeline",
        {
            "text_encoder": ("transformers", "CLIPTextModel", CLIP),
            "unet": ("diffusers", "UNet2DConditionModel", UNET),
            "vae": ("diffusers", "AutoencoderKL", VAE),
        },
    ),
    "xl": (
        "StableDiffusionXLPipeline",
        {
            "text_encoder": ("transformers", "CLIPTextModel", CLIP),
            "text_encoder_2": (
                "transformers",
                "CLIPTextModelWithProjection",
                {**CLIP, "hidden_act": "gelu"},
            ),
            "unet": ("diffusers", "UNet2DConditionModel", XL_UNET),
            "vae": ("diffusers", "AutoencoderKL", {**VAE, "scaling_factor": 0.13025}),
        },
    ),
    "dit": (
        "DiTPipeline",
        {
            "transformer": ("diffusers", "DiTTransformer2DModel", DIT),
            "vae": ("diffusers", "AutoencoderKL", VAE),
        },
    ),
}


def write(directory: Path, kind: str, shapes: dict[str, dict[str, list[int]]]) -> Path:
    """A directory of diffusers: shapes tells the tensors of each component."""
    class_name, components = PIPELINES[kind]
    index: dict = {"_class_name": class_name, "scheduler": ["diffusers", "DDIMScheduler"]}
    for name, (library, kind_name, config) in components.items():
        folder = directory / name
        folder.mkdir(parents=True)
        index[name] = [library, kind_name]
        (folder / "config.json").write_text(json.dumps(config))
        stem = "model" if library == "transformers" else "diffusion_pytorch_model"
        file = folder / f"{stem}.safetensors"
        tiny_model.write_safetensors(file, tensors(shapes[name]), "F32")
        if name.startswith("text_encoder"):
            part = name.replace("text_encoder", "tokenizer")
            index[part] = ["transformers", "CLIPTokenizer"]
            write_tokenizer(directory / part)
    if kind == "dit":
        index["id2label"] = {"3": "tench, fish"}
    if kind == "xl":
        index["force_zeros_for_empty_prompt"] = True
    folder = directory / "scheduler"
    folder.mkdir()
    config = {"_class_name": "DDIMScheduler", **SD_SCHEDULE}
    (folder / "scheduler_config.json").write_text(json.dumps(config))
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def write_tokenizer(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    ids = {token: i for i, token in enumerate(VOCABULARY)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    names = {"bos_token": VOCABULARY[-2], "eos_token": VOCABULARY[-1]}
    names |= {"unk_token": VOCABULARY[-1], "pad_token": VOCABULARY[-1]}
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 8, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def picture(seed: int) -> np.ndarray:
    """An image to change, [16, 16, 3] in [0, 1]."""
    return np.random.RandomState(seed).uniform(0, 1, (16, 16, 3)).astype(np.float32)
