"""Tiny configs of text encoders; see tools/make_encoder_goldens.py."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tiny_model
from networks import GOLDENS, tensors

IDS = np.array([[57, 3, 9, 41, 58, 58, 58, 58], [57, 12, 58, 58, 58, 58, 58, 58]])
SEEN = np.array([[1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0, 0]], bool)
CLIP = {
    "vocab_size": 59,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "max_position_embeddings": 10,
    "bos_token_id": 57,
    "eos_token_id": 58,
    "pad_token_id": 58,
    "projection_dim": 20,
}
T5 = {
    "vocab_size": 59,
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}


@dataclass(frozen=True)
class Encoder:
    class_name: str
    name: str
    config: dict

    @property
    def id(self) -> str:
        return f"{self.class_name}-{self.name}"

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.id}.npz"

    @property
    def is_t5(self) -> bool:
        return self.class_name.startswith("T5")

    def write(self, directory: Path, shapes: dict[str, list[int]]) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        kind = "t5" if self.is_t5 else "clip_text_model"
        (directory / "config.json").write_text(json.dumps({"model_type": kind, **self.config}))
        tiny_model.write_safetensors(directory / "model.safetensors", tensors(shapes), "F32")
        return directory


CASES = [
    Encoder("CLIPTextModel", "base", CLIP),
    Encoder("CLIPTextModel", "old-eos", {**CLIP, "eos_token_id": 2}),
    Encoder("CLIPTextModelWithProjection", "gelu", {**CLIP, "hidden_act": "gelu"}),
    Encoder("T5EncoderModel", "relu", T5),
    Encoder("T5EncoderModel", "gated", {**T5, "feed_forward_proj": "gated-gelu"}),
]
