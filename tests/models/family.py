"""A tiny model of a family: its config, its weights and where its golden is.

The names and shapes of a model's tensors are transformers' own (they stand in the golden), the
numbers are made again from them wherever they are needed.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/families"
NOBODY = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


@dataclass(frozen=True)
class Family:
    """A config of `model_type`, under a name of its own."""

    model_type: str
    name: str
    config: dict

    @property
    def id(self) -> str:
        return f"{self.model_type}-{self.name}"

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.id}.npz"

    @property
    def options(self) -> dict:
        """Of `generate`, where transformers' tokens are to be held to more than it would give."""
        return {"suppress_tokens": []} if self.model_type == "chameleon" else {}

    def full_config(self) -> dict:
        return {"model_type": self.model_type, **self.config}

    def tensors(self, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
        # Gemma multiplies its embedding by the root of the hidden size.
        embed = 0.15 if self.model_type.startswith("gemma") else 1.2
        return {name: numbers(name, tuple(shape), embed) for name, shape in shapes.items()}

    def write(self, directory: Path, **changes: object) -> Path:
        """The model's directory; changes: of its config."""
        with np.load(self.file) as golden:
            shapes = json.loads(str(golden["shapes"]))
        config = {**self.full_config(), **changes}
        return tiny_model.write_model(directory, config, 0, tensors=self.tensors(shapes))

    def checksum(self, shapes: dict[str, list[int]]) -> int:
        crc = zlib.crc32(json.dumps([self.full_config(), shapes], sort_keys=True).encode())
        for name, tensor in self.tensors(shapes).items():
            crc = zlib.crc32(tensor.tobytes(), zlib.crc32(name.encode(), crc))
        return crc


def numbers(name: str, shape: tuple[int, ...], embed: float) -> np.ndarray:
    """A function of name and shape alone; far from trivial, as in tiny_model. float32, but of MXFP4
    the bytes."""
    u = tiny_model.uniform(3, name, shape)
    if name.endswith("_blocks"):
        return ((u + 1) * 128).astype(np.uint8)
    if name.endswith("_scales"):
        return (124 + u).astype(np.uint8)  # 2^-4 or 2^-3
    if name.endswith(".bias"):
        return (u * 0.4).astype(np.float32)
    if name.endswith(("A_log", "time_decay")):  # of states that last for a few tokens, not one
        return u - np.float32(1)
    if len(shape) == 1 or "norm" in name:
        return (1 + 0.4 * u).astype(np.float32)
    if "emb" in name or "wte" in name or "wpe" in name:
        return (u * (0.6 if "pos" in name or "wpe" in name else embed)).astype(np.float32)
    queries = ("q_proj", "k_proj", "c_attn", "query_key_value", "qkv", "Wqkv")
    gain = 1.8 if any(part in name for part in queries) else 1.2
    return (u * np.float32(gain * (3 / shape[-1]) ** 0.5)).astype(np.float32)


def of(model_type: str, common: dict, /, **cases: dict) -> list[Family]:
    return [Family(model_type, name, {**common, **changes}) for name, changes in cases.items()]
