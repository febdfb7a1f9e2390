"""Whole pipelines of tiny random networks; see tools/make_pipeline_goldens.py.

Names and shapes of tensors are diffusers' and transformers' own and stand in the golden; the
numbers are made again from names, as in networks.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

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
T5 = {
    "model_type": "t5",
    "vocab_size": 16,
    "d_model": 56,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 3,
    "feed_forward_proj": "gated-gelu",
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}
VAE_16 = {
    **VAE,
    "latent_channels": 16,
    "scaling_factor": 1.5,
    "shift_factor": 0.06,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
}
SD3 = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 16,
    "num_layers": 2,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "joint_attention_dim": 56,
    "caption_projection_dim": 24,
    "pooled_projection_dim": 40,
    "pos_embed_max_size": 6,
    "qk_norm": "rms_norm",
}
FLUX = {
    "in_channels": 64,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 56,
    "pooled_projection_dim": 24,
    "axes_dims_rope": [4, 6, 6],
}
PIXART = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 8,
    "num_layers": 2,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "cross_attention_dim": 24,
    "caption_channels": 56,
}
DPM = {"_class_name": "DPMSolverMultistepScheduler", "beta_schedule": "linear"}
DDIM = {"_class_name": "DDIMScheduler", **SD_SCHEDULE}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler"}
GELU_CLIP = ("transformers", "CLIPTextModelWithProjection", {**CLIP, "hidden_act": "gelu"})
T5_ENCODER = ("transformers", "T5EncoderModel", T5)


@dataclass(frozen=True)
class Pipeline:
    """components: library, class, config; fields: of model_index.json besides."""

    class_name: str
    components: dict[str, tuple[str, str, dict]]
    scheduler: dict = field(default_factory=lambda: DDIM)
    fields: dict = field(default_factory=dict)


def xl(class_name: str, config: dict) -> Pipeline:
    return Pipeline(
        class_name,
        {
            "text_encoder": ("transformers", "CLIPTextModel", CLIP),
            "text_encoder_2": GELU_CLIP,
            "unet": ("diffusers", "UNet2DConditionModel", {**XL_UNET, **config}),
            "vae": ("diffusers", "AutoencoderKL", {**VAE, "scaling_factor": 0.13025}),
        },
        fields={"force_zeros_for_empty_prompt": True},
    )


def flux(config: dict, scheduler: dict, class_name: str = "FluxPipeline") -> Pipeline:
    return Pipeline(
        class_name,
        {
            "text_encoder": ("transformers", "CLIPTextModel", CLIP),
            "text_encoder_2": T5_ENCODER,
            "transformer": ("diffusers", "FluxTransformer2DModel", {**FLUX, **config}),
            "vae": ("diffusers", "AutoencoderKL", VAE_16),
        },
        {**FLOW, **scheduler},
    )


def pixart(class_name: str, config: dict) -> Pipeline:
    return Pipeline(
        class_name,
        {
            "text_encoder": T5_ENCODER,
            "transformer": ("diffusers", "PixArtTransformer2DModel", {**PIXART, **config}),
            "vae": ("diffusers", "AutoencoderKL", VAE),
        },
        DPM,
    )


PIPELINES = {
    "sd": Pipeline(
        "StableDiffusionPipeline",
        {
            "text_encoder": ("transformers", "CLIPTextModel", CLIP),
            "unet": ("diffusers", "UNet2DConditionModel", UNET),
            "vae": ("diffusers", "AutoencoderKL", VAE),
        },
    ),
    "inpaint": Pipeline(
        "StableDiffusionInpaintPipeline",
        {
            "text_encoder": ("transformers", "CLIPTextModel", CLIP),
            "unet": ("diffusers", "UNet2DConditionModel", {**UNET, "in_channels": 9}),
            "vae": ("diffusers", "AutoencoderKL", VAE),
        },
        fields={"_diffusers_version": "0.42.1"},
    ),
    "xl": xl("StableDiffusionXLPipeline", {}),
    "xl-inpaint": xl("StableDiffusionXLInpaintPipeline", {"in_channels": 9}),
    "dit": Pipeline(
        "DiTPipeline",
        {
            "transformer": ("diffusers", "DiTTransformer2DModel", DIT),
            "vae": ("diffusers", "AutoencoderKL", VAE),
        },
        fields={"id2label": {"3": "tench, fish"}},
    ),
    "sd3": Pipeline(
        "StableDiffusion3Pipeline",
        {
            "text_encoder": ("transformers", "CLIPTextModelWithProjection", CLIP),
            "text_encoder_2": GELU_CLIP,
            "text_encoder_3": T5_ENCODER,
            "transformer": ("diffusers", "SD3Transformer2DModel", SD3),
            "vae": ("diffusers", "AutoencoderKL", VAE_16),
        },
        {**FLOW, "shift": 3.0},
    ),
    "flux-dev": flux({"guidance_embeds": True}, {"use_dynamic_shifting": True, "shift": 3.0}),
    "flux-schnell": flux({}, {"shift": 1.0}),
    "flux-fill": flux(
        {"in_channels": 4 * (16 + 16 + 4), "out_channels": 64, "guidance_embeds": True},
        {"use_dynamic_shifting": True},
        "FluxFillPipeline",
    ),
    "pixart-alpha": pixart("PixArtAlphaPipeline", {"use_additional_conditions": True}),
    "pixart-sigma": pixart("PixArtSigmaPipeline", {"interpolation_scale": 2}),
}


def write(directory: Path, kind: str, shapes: dict[str, dict[str, list[int]]]) -> Path:
    """A directory of diffusers: shapes tells the tensors of each component."""
    pipeline = PIPELINES[kind]
    scheduler = ["diffusers", pipeline.scheduler["_class_name"]]
    index: dict = {"_class_name": pipeline.class_name, "scheduler": scheduler, **pipeline.fields}
    for name, (library, kind_name, config) in pipeline.components.items():
        folder = directory / name
        folder.mkdir(parents=True)
        index[name] = [library, kind_name]
        (folder / "config.json").write_text(json.dumps(config))
        stem = "model" if library == "transformers" else "diffusion_pytorch_model"
        file = folder / f"{stem}.safetensors"
        tiny_model.write_safetensors(file, tensors(shapes[name]), "F32")
        if name.startswith("text_encoder"):
            part = name.replace("text_encoder", "tokenizer")
            t5 = kind_name == "T5EncoderModel"
            index[part] = ["transformers", "T5Tokenizer" if t5 else "CLIPTokenizer"]
            (write_t5_tokenizer if t5 else write_tokenizer)(directory / part)
    folder = directory / "scheduler"
    folder.mkdir()
    (folder / "scheduler_config.json").write_text(json.dumps(pipeline.scheduler))
    (directory / "model_index.json").write_text(json.dumps(index))
    return directory


def with_golden(kind: str, directory: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """The directory, and what diffusers makes of it."""
    with np.load(GOLDENS / f"{kind}.npz") as file:
        golden = dict(file)
    return write(directory / kind, kind, json.loads(str(golden["shapes"]))), golden


def edit(file: Path, **fields) -> None:
    """Changes fields of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


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


def write_t5_tokenizer(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    pieces = [(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>")]
    pieces += [("\u2581", -2.0), ("\u2581a", -2.5), ("ab", -2.6)]
    pieces += [(letter, -3.0 - i / 8) for i, letter in enumerate(LETTERS)]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    backend.save(str(folder / "tokenizer.json"))
    names = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "model_max_length": 512, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def half() -> np.ndarray:
    """A mask of the right half, [16, 16]."""
    return np.tile(np.arange(16) >= 8, (16, 1)).astype(np.float32)


def picture(seed: int) -> np.ndarray:
    """An image to change, [16, 16, 3] in [0, 1]."""
    return np.random.RandomState(seed).uniform(0, 1, (16, 16, 3)).astype(np.float32)
