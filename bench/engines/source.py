"""A Llama directory as its peers' converters see it: the config and float32 or bfloat16 arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from shapes import tensors

from genfast.checkpoint import Checkpoint


class Source:
    """config: the parsed config.json. `float32(name)` and `bfloat16(name)` give a tensor, the
    latter as uint16 bit patterns, rounded to nearest even where the file has more bits."""

    def __init__(self, model: Path) -> None:
        self.config = json.loads((model / "config.json").read_text())
        if self.config["model_type"] != "llama" or not self.config["tie_word_embeddings"]:
            raise ValueError(f"{model}: the converters here know llama with tied embeddings only")
        self._shapes = tensors(self.config)
        self._checkpoint = Checkpoint(model)

    @property
    def layers(self) -> int:
        return self.config["num_hidden_layers"]

    @property
    def heads(self) -> int:
        return self.config["num_attention_heads"]

    @property
    def kv_heads(self) -> int:
        return self.config["num_key_value_heads"]

    @property
    def head_dim(self) -> int:
        return self.config["hidden_size"] // self.heads

    def float32(self, name: str) -> np.ndarray:
        view = self._checkpoint.tensor(name, self._shapes[name])
        if view.dtype == "BF16":
            bits = np.frombuffer(view.data.tobytes(), np.uint16).astype(np.uint32) << 16
            return bits.view(np.float32).reshape(view.shape)
        kind = {"F32": np.float32, "F16": np.float16}[view.dtype]
        values = np.frombuffer(view.data.tobytes(), kind)
        return values.astype(np.float32).reshape(view.shape)

    def bfloat16(self, name: str) -> np.ndarray:
        view = self._checkpoint.tensor(name, self._shapes[name])
        if view.dtype == "BF16":
            return np.frombuffer(view.data.tobytes(), np.uint16).reshape(view.shape)
        bits = self.float32(name).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)

    def all_float32(self) -> dict[str, np.ndarray]:
        return {name: self.float32(name) for name in self._shapes}

    def close(self) -> None:
        self._checkpoint.close()


def converted(model: Path, work: Path, suffix: str) -> Path:
    """Where a conversion of `model` lies: named after it and after the file it was made from, so
    that another model of the same name is not mistaken for it."""
    stat = (model / "model.safetensors").stat()
    return work / f"{model.name}-{stat.st_size:x}-{stat.st_mtime_ns:x}-{suffix}"
