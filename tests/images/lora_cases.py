"""LoRAs of the tiny pipelines, spelled as diffusers reads them; see tools/make_lora_goldens.py.

Names and shapes are those that diffusers saved (they stand in the golden), respelled here; the
numbers are made again from names, as everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/loras"
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
LAYERS = [*ATTENTION, "ff.net.0.proj", "proj_in", "conv1", "conv2", "conv_in", "conv_shortcut"]
LAYERS += ["time_emb_proj", "downsamplers.0.conv", "linear_1"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj"]


@dataclass(frozen=True)
class Lora:
    """unet, text: arguments of each LoraConfig; spelling: how names are written; alpha: of kohya's
    files."""

    seed: int
    unet: dict
    text: dict | None
    spelling: str = "diffusers"
    alpha: float | None = None
    strength: float = 1.0

    def tensors(self, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
        """shapes: by the names that diffusers saved."""
        found = {}
        for name, shape in shapes.items():
            u = tiny_model.uniform(self.seed, name, tuple(shape))
            spelled = SPELLINGS[self.spelling](name)
            found[spelled] = (u * 0.4).astype(np.float32)
            if self.alpha is not None and ".lora_A." in name:
                alpha = np.array(self.alpha, np.float32)
                found[spelled.replace("lora_down.weight", "alpha")] = alpha
        return found

    def write(self, file: Path, shapes: dict[str, list[int]], metadata: dict) -> Path:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors(shapes), file, metadata)
        return file


@dataclass(frozen=True)
class Case:
    name: str
    pipeline: str
    loras: tuple[Lora, ...]

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.name}.npz"


def old(name: str) -> str:
    """As diffusers saved attention before PEFT."""
    name = name.replace(".lora_A.weight", "_lora.down.weight")
    name = name.replace(".lora_B.weight", "_lora.up.weight").replace("to_out.0_", "to_out_")
    for now, before in zip(TEXT, ("to_q", "to_k", "to_v", "to_out"), strict=True):
        name = name.replace(f"{now}_lora", f"{before}_lora")
    return re.sub(r"(attn[12])\.", r"\1.processor.", name)


def kohya(name: str) -> str:
    component, _, inner = name.partition(".")
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[component]
    return prefix + _flat(inner)


def kohya_xl(name: str) -> str:
    component, _, inner = name.partition(".")
    if component == "unet":
        return "lora_unet_" + _flat(_original(inner))
    return {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}[component] + _flat(inner)


def _flat(inner: str) -> str:
    inner = inner.replace(".lora_A.", "/down.").replace(".lora_B.", "/up.")
    module, _, half = inner.partition("/")
    return f"{module.replace('.', '_')}.lora_{half}"


def _original(inner: str) -> str:
    """What a module of the UNet was called before diffusers; one layer a block."""
    inner = inner.replace("conv_in.", "input_blocks.0.0.")
    inner = inner.replace("time_embedding.linear_1", "time_embed.0")
    inner = inner.replace("add_embedding.linear_1", "label_emb.0.0")
    inner = re.sub(r"down_blocks\.(\d)\.downsamplers\.0\.conv", _input(".0.op", 2), inner)
    inner = re.sub(r"down_blocks\.(\d)\.resnets\.0", _input(".0", 1), inner)
    inner = re.sub(r"down_blocks\.(\d)\.attentions\.0", _input(".1", 1), inner)
    inner = re.sub(r"mid_block\.attentions\.0", "middle_block.1", inner)
    inner = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"middle_block.{2 * int(m[1])}", inner)
    for part, place in (("resnets", 0), ("attentions", 1)):
        inner = re.sub(
            rf"up_blocks\.(\d)\.{part}\.(\d)",
            lambda m, place=place: f"output_blocks.{2 * int(m[1]) + int(m[2])}.{place}",
            inner,
        )
    if "attentions" not in inner:
        inner = re.sub(r"(blocks?\.\S+)\.conv1\.", r"\1.in_layers.2.", inner)
        inner = re.sub(r"(blocks?\.\S+)\.conv2\.", r"\1.out_layers.3.", inner)
    inner = inner.replace("time_emb_proj", "emb_layers.1")
    return inner.replace("conv_shortcut", "skip_connection")


def _input(end: str, offset: int):
    return lambda m: f"input_blocks.{2 * int(m[1]) + offset}{end}"


SPELLINGS = {"diffusers": str, "old": old, "kohya": kohya, "kohya_xl": kohya_xl}
PEFT = Lora(
    21,
    {"r": 3, "lora_alpha": 6, "target_modules": LAYERS, "rank_pattern": {"to_q": 2}},
    {"r": 2, "lora_alpha": 3, "target_modules": [*TEXT, "fc1", "fc2"]},
)
KOHYA_UNET = {"r": 2, "lora_alpha": 2, "target_modules": LAYERS}
KOHYA_TEXT = {"r": 2, "lora_alpha": 2, "target_modules": [*TEXT, "fc1", "fc2"]}
KOHYA = Lora(22, KOHYA_UNET, KOHYA_TEXT, "kohya", alpha=1.5)
OLD = Lora(
    23,
    {"r": 2, "lora_alpha": 2, "target_modules": ATTENTION},
    {"r": 2, "lora_alpha": 2, "target_modules": TEXT},
    "old",
)
CASES = [
    Case("peft", "sd", (PEFT,)),
    Case("old", "sd", (OLD,)),
    Case("two", "sd", (Lora(**{**PEFT.__dict__, "strength": 0.7}), KOHYA)),
    Case("xl", "xl", (Lora(24, KOHYA_UNET, KOHYA_TEXT, "kohya_xl", alpha=3.0),)),
]
