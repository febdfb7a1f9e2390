"""LoRA for pipelines: one file of safetensors that changes several components.

Read are the spellings that diffusers reads: its own (`unet.….lora_A.weight`, and the older
`lora.down`, `processor.to_q_lora.down`, `lora_linear_layer.down`), and kohya's, whose names have
underscores for dots and, for XL, the blocks of the original UNet. A module is found by its name
with underscores alone, in which all of these agree. Merged are W + strength · alpha / r · B A, as
genfast.adapters does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from safetensors import safe_open

from genfast.adapters import Part, check_config, rank_and_scale
from genfast.checkpoint import Checkpoint, only_file
from genfast.config import Fields, show
from genfast.errors import LoadError
from genfast.tensor_floats import to_float32

_USUAL = "pytorch_lora_weights.safetensors"
_HALF = re.compile(
    r"(?P<module>.+?)(?:\.lora_(?P<peft>[AB])|(?:[._]lora|\.lora_linear_layer)\.(?P<old>down|up)"
    r"|\.lora_(?P<kohya>down|up))\.weight"
)
_DOWN = ("A", "down")
_KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder"}
_KOHYA["lora_te2_"] = "text_encoder_2"
# Of the original UNet's names (Rombach et al.'s), what diffusers calls them.
_OUTSIDE_BLOCKS = {
    "input_blocks_0_0": "conv_in",
    "out_2": "conv_out",
    "time_embed_0": "time_embedding_linear_1",
    "time_embed_2": "time_embedding_linear_2",
    "label_emb_0_0": "add_embedding_linear_1",
    "label_emb_0_2": "add_embedding_linear_2",
}
_IN_RESNETS = {
    "in_layers_2": "conv1",
    "out_layers_3": "conv2",
    "emb_layers_1": "time_emb_proj",
    "skip_connection": "conv_shortcut",
}
_IN_TEXT = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}


@dataclass
class _Half:
    """The tensors of one module, as they are found."""

    a: str | None = None
    b: str | None = None
    alpha: str | None = None


class LoraFile(Checkpoint):
    """A file, or pytorch_lora_weights.safetensors or the only file of a directory."""

    def _open(self) -> None:
        if not self.path.is_dir():
            self._add(self.path)
            return
        usual = self.path / _USUAL
        self._add(usual if usual.exists() else only_file(self.path))


class Lora:
    """One LoRA; `of` gives what it says of a component."""

    def __init__(self, path: Path, strength: float, components: Sequence[str]) -> None:
        """components: of the pipeline; the first is the one that names without any belong to."""
        self.path, self.strength = path, strength
        self.file = LoraFile(path)
        self._where = self.file.files[0]
        self._configs = _configs(self._where)
        self._modules: dict[str, dict[str, _Half]] = {}
        for name in self.file.names():
            self._enter(name, components)
        if not self._modules:
            raise LoadError(f"{self._where}: holds no tensors")

    @property
    def components(self) -> list[str]:
        return list(self._modules)

    def of(self, component: str, checkpoint: Checkpoint, layers: int) -> ComponentLora:
        """checkpoint: of the component; layers: layers_per_block of its config, where it has any,
        without which the original UNet's blocks cannot be told apart."""
        flat = {
            name.removesuffix(".weight").replace(".", "_"): name
            for name in checkpoint.names()
            if name.endswith(".weight")
        }
        parts = {}
        for module, half in self._modules.get(component, {}).items():
            known = next((flat[n] for n in _spellings(module, layers) if n in flat), None)
            which = half.a or half.b or half.alpha
            if known is None or "embed" in known.rpartition(".")[0].rpartition(".")[2]:
                problem = "has not" if known is None else "keeps as a table"
                where = f"changes {component} at {show(module)}"
                self._fail(which, f"{where}, which {checkpoint.path} {problem}")
            if half.a is None or half.b is None:
                self._fail(which, "its other half is missing")
            parts[known] = self._part(component, known, half)
        return ComponentLora(self._where, self.file, parts)

    def _part(self, component: str, name: str, half: _Half) -> Part:
        shape, scale = self.file.shape(half.a), 1.0
        if len(shape) < 2 or 0 in shape:
            self._fail(half.a, f"found shape {list(shape)}, expected [rank, inputs …], all above 0")
        rank = shape[0]
        if half.alpha is not None:
            alpha = to_float32(self.file.tensor(half.alpha)).reshape(-1)
            if len(alpha) != 1 or not np.isfinite(alpha[0]):
                self._fail(half.alpha, f"found {alpha[:4].tolist()}, expected one finite number")
            scale = float(alpha[0]) / rank
        elif component in self._configs:
            told, scale = rank_and_scale(self._configs[component], name.removesuffix(".weight"))
            if told != rank:
                expected = f"expected {told} by lora_adapter_metadata"
                self._fail(half.a, f"found rank {rank}, {expected}")
        return Part(half.a, half.b, rank, scale * self.strength)

    def _fail(self, name: str | None, problem: str) -> NoReturn:
        raise LoadError(f"{self._where}: tensor {show(name)}: {problem}")

    def _enter(self, name: str, components: Sequence[str]) -> None:
        component, inner = _component(name, components)
        match = _HALF.fullmatch(inner)
        alpha = inner.endswith(".alpha")
        if match is None and not alpha:
            self._fail(
                name,
                "not one of LoRA (lora_A and lora_B, or lora_down, lora_up and alpha); other kinds "
                "of adapters cannot be merged",
            )
        if component not in components:
            self._fail(name, f"changes {component}; this pipeline has {', '.join(components)}")
        module = inner.removesuffix(".alpha") if alpha else match["module"]
        module = module.replace(".processor.", ".").replace(".", "_").removesuffix("_lora")
        half = self._modules.setdefault(component, {}).setdefault(module, _Half())
        if alpha:
            half.alpha = name
        elif (match["peft"] or match["old"] or match["kohya"]) in _DOWN:
            half.a = name
        else:
            half.b = name


@dataclass(frozen=True)
class ComponentLora:
    """What one LoRA says of one component, as `genfast.adapters.Adapters` takes it."""

    path: Path
    file: LoraFile
    parts: dict[str, Part]
    replaced = ()


def _component(name: str, components: Sequence[str]) -> tuple[str, str]:
    """The component that a tensor belongs to, and its name inside."""
    for prefix, component in _KOHYA.items():
        if name.startswith(prefix):
            return component, name.removeprefix(prefix)
    first, _, rest = name.partition(".")
    if first in (*components, *_KOHYA.values(), "transformer"):
        return first, rest
    return components[0], name


def _spellings(module: str, layers: int) -> list[str]:
    """Names with underscores that a module may have in the component's file."""
    stem, _, last = module.rpartition("_self_attn_")
    if last in _IN_TEXT:
        module = f"{stem}_self_attn_{_IN_TEXT[last]}"
    modern = _modern(module, layers)
    return [modern, f"{modern}_0", modern.removeprefix("text_model_"), f"text_model_{modern}"]


def _modern(module: str, layers: int) -> str:
    """What diffusers calls a module of the original UNet; any other name as it is."""
    if module in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[module]
    if match := re.fullmatch(r"middle_block_([012])_(.+)", module):
        part = ("resnets_0", "attentions_0", "resnets_1")[int(match[1])]
        return f"mid_block_{part}_{_IN_RESNETS.get(match[2], match[2])}"
    match = re.fullmatch(r"(input|output)_blocks_(\d+)_(\d+)_(.+)", module)
    if match is None:
        return module
    down, rest = match[1] == "input", match[4]
    block, layer = divmod(int(match[2]) - down, layers + 1)
    side = "down" if down else "up"
    if rest in ("op", "conv"):
        return f"{side}_blocks_{block}_{side}samplers_0_conv"
    kind = "attentions" if match[3] == "1" else "resnets"
    return f"{side}_blocks_{block}_{kind}_{layer}_{_IN_RESNETS.get(rest, rest)}"


def _configs(file: Path) -> dict[str, Fields]:
    """PEFT's configs by component, where diffusers put them in the file."""
    with safe_open(file, "np") as opened:
        text = (opened.metadata() or {}).get("lora_adapter_metadata")
    if text is None:
        return {}
    try:
        told = json.loads(text)
    except ValueError as error:
        raise LoadError(f"{file}: lora_adapter_metadata is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise LoadError(f"{file}: lora_adapter_metadata: found {show(told)}, expected an object")
    values: dict[str, dict] = {}
    for key, value in told.items():
        component, _, field = key.partition(".")
        values.setdefault(component, {})[field] = value
    configs = {c: Fields(v, file, f"lora_adapter_metadata.{c}.") for c, v in values.items()}
    for config in configs.values():
        check_config(config.with_defaults(peft_type="LORA"))
    return configs
