"""A tiny Janus; see tools/make_janus_goldens.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/images"
SIDE, TEXT, CODES = 4, 64, 40  # codes a side; ids of text; codes
BOS, BEGIN, PAD = 1, 5, 2
GENERATION = {"bos_token_id": BOS, "pad_token_id": PAD, "guidance_scale": 4.0}
CONFIG = {
    "model_type": "janus",
    "text_config": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 44,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": TEXT,
        "max_position_embeddings": 96,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    },
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 4 * SIDE,
        "patch_size": 4,
        "num_image_tokens": SIDE * SIDE,
        "projection_dim": 32,
        "mlp_ratio": 1.0,
    },
    "vq_config": {
        "embed_dim": 4,
        "num_embeddings": CODES,
        "latent_channels": 6,
        "base_channels": 32,
        "channel_multiplier": [1, 2],
        "num_res_blocks": 1,
        "projection_dim": 32,
        "image_token_embed_dim": 32,
    },
    "image_token_id": 7,
}


@dataclass(frozen=True)
class Case:
    name: str
    changes: dict  # of CONFIG, or of one of its parts

    @property
    def file(self) -> Path:
        return GOLDENS / f"Janus-{self.name}.npz"

    def config(self) -> dict:
        config = json.loads(json.dumps(CONFIG))
        for name, change in self.changes.items():
            config[name] = {**config[name], **change} if isinstance(change, dict) else change
        return config

    def write(self, directory: Path, shapes: dict[str, list[int]], dtype: str = "F32") -> Path:
        tiny_model.write_model(directory, self.config(), 0, dtype, tensors=tensors(shapes))
        kwargs = {"generation_kwargs": {"boi_token_id": BEGIN}}
        (directory / "generation_config.json").write_text(json.dumps({**GENERATION, **kwargs}))
        return directory


CASES = [
    Case("base", {"tie_word_embeddings": False}),
    Case(
        "tied",
        {
            "tie_word_embeddings": True,
            "vq_config": {"num_hidden_layers": 3, "hidden_act": "gelu_new", "num_res_blocks": 2},
        },
    ),
]


def tensors(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Weights that keep the variance; what picks codes and ids is louder."""
    made = {}
    for name, shape in shapes.items():
        u = tiny_model.uniform(0, name, tuple(shape))
        if ("embed" in name and len(shape) == 2) or name.endswith("quantize.embedding.weight"):
            made[name] = 1.2 * u
        elif len(shape) == 1:
            made[name] = 0.3 * u if name.endswith("bias") else 1 + 0.3 * u
        else:
            gain = 1.8 if name.endswith(("q_proj.weight", "k_proj.weight")) else 1.2
            made[name] = u * (gain if len(shape) == 2 else 1) * (3 / np.prod(shape[1:])) ** 0.5
        made[name] = made[name].astype(np.float32)
    return made
