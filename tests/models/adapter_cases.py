"""LoRA adapters on tiny models; see tools/make_adapter_goldens.py.

The tensors' names and shapes are PEFT's own (they stand in the golden), the numbers are made again
from them. A case may have several adapters, which add up.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import families
import golden_cases
import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/adapters"


@dataclass(frozen=True)
class AdapterCase:
    """base: of golden_cases, or of families; adapters: the arguments of each LoraConfig."""

    name: str
    base: str
    adapters: tuple[dict, ...]

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.name}.npz"

    def write_base(self, directory: Path) -> Path:
        if self.base in golden_cases.CASES:
            return golden_cases.CASES[self.base].write(directory)
        family = next(f for f in families.CASES if f.id == self.base)
        with np.load(family.file) as file:
            tensors = family.tensors(json.loads(str(file["shapes"])))
        return tiny_model.write_model(directory, family.full_config(), 0, tensors=tensors)

    def tensors(self, index: int, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
        found = {}
        for name, shape in shapes.items():
            u = tiny_model.uniform(11 + index, name, tuple(shape))
            found[name] = (u * 0.3).astype(np.float32)
        return found

    def write_adapters(
        self, directory: Path, configs: list[dict], shapes: list[dict]
    ) -> list[Path]:
        """As PEFT saves them."""
        paths = []
        for i, (config, mine) in enumerate(zip(configs, shapes, strict=True)):
            path = directory / f"adapter_{i}"
            path.mkdir(parents=True)
            (path / "adapter_config.json").write_text(json.dumps(config))
            file = path / "adapter_model.safetensors"
            tiny_model.write_safetensors(file, self.tensors(i, mine))
            paths.append(path)
        return paths

    def checksum(self, configs: list[dict], shapes: list[dict]) -> int:
        crc = zlib.crc32(json.dumps([self.base, self.adapters, configs, shapes]).encode())
        for i, mine in enumerate(shapes):
            for tensor in self.tensors(i, mine).values():
                crc = zlib.crc32(tensor.tobytes(), crc)
        return crc


CASES = [
    AdapterCase(
        "llama",
        "llama-base",
        ({"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]},),
    ),
    AdapterCase(
        "llama-patterns",
        "llama-biases",
        (
            {
                "r": 4,
                "lora_alpha": 6,
                "use_rslora": True,
                "target_modules": r".*\.layers\.1\..*(k|o|gate|up)_proj",
                "rank_pattern": {"k_proj": 2},
                "alpha_pattern": {"mlp.gate_proj": 3},
                "modules_to_save": ["lm_head"],
                "bias": "lora_only",
            },
        ),
    ),
    AdapterCase(
        "llama-two",
        "llama-tied",
        (
            {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "up_proj"]},
            {"r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "o_proj"]},
        ),
    ),
    AdapterCase(
        "gpt2",
        "gpt2-base",
        (
            {
                "r": 3,
                "lora_alpha": 6,
                "fan_in_fan_out": True,
                "target_modules": ["c_attn", "c_proj"],
            },
        ),
    ),
    AdapterCase(
        "phi3",
        "phi3-base",
        ({"r": 4, "lora_alpha": 8, "target_modules": "all-linear"},),
    ),
]
