"""LoRA adapters: directories of PEFT, merged into the weights while these are packed.

W + scale · B A, for A [r, in] and B [out, r]; several adapters add up. Hu et al., 2021 (arXiv
2106.09685); scale: alpha / r, or alpha / √r with rslora (Kalajdzievski, 2023, arXiv 2312.03732).
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from genfast import ops
from genfast.checkpoint import Checkpoint, TensorView
from genfast.config import Fields, read_object, show
from genfast.errors import LoadError
from genfast.tensor_floats import to_float32

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"
# What changes the arithmetic, and is not done here: the field, and what it is when it is off.
_REFUSED = {
    "use_dora": False,
    "use_qalora": False,
    "lora_bias": False,
    "megatron_config": None,
    "target_parameters": None,
    "layer_replication": None,
    "trainable_token_indices": None,
    "alora_invocation_tokens": None,
    "arrow_config": None,
}


class AdapterFile(Checkpoint):
    """The tensors of an adapter's directory."""

    def _open(self) -> None:
        file, other = self.path / "adapter_model.safetensors", self.path / "adapter_model.bin"
        if not file.exists() and other.exists():
            raise LoadError(f"{other}: expected adapter_model.safetensors; save the adapter anew")
        self._add(file)


@dataclass(frozen=True)
class Part:
    """What an adapter says of one matrix."""

    a: str
    b: str
    rank: int
    scale: float


class Adapter:
    """One directory of PEFT: adapter_config.json and adapter_model.safetensors.

    parts: by the name of the tensor of the model that they change. replaced: the tensor of the
    adapter that stands in for one of the model: modules_to_save, and biases that were trained.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = path / "adapter_config.json"
        config = Fields(read_object(file), file)
        check_config(config)
        self.file = AdapterFile(path)
        self.parts: dict[str, Part] = {}
        self.replaced: dict[str, str] = {}
        for name in self.file.names():
            self._enter(name, config)

    def _enter(self, name: str, config: Fields) -> None:
        where = f"{self.file.file_of(name)}: tensor {show(name)}"
        if not name.startswith(_PREFIX):
            raise LoadError(f"{where}: expected a name that begins with {_PREFIX}")
        inner = name.removeprefix(_PREFIX)
        if inner.endswith(_B) and name.removesuffix(_B) + _A in self.file:
            return
        if not inner.endswith(_A):
            if ".lora_" in inner or not inner.endswith((".weight", ".bias")):
                raise LoadError(f"{where}: not lora_A.weight or lora_B.weight of a linear layer")
            self.replaced[inner.replace(".base_layer.", ".")] = name
            return
        module, b = inner.removesuffix(_A), name.removesuffix(_A) + _B
        if not _is_target(config, module):
            raise LoadError(f"{where}: {config.file}: target_modules does not name {module}")
        rank, scale = rank_and_scale(config, module)
        if (found := self.file.shape(name)[0]) != rank:
            raise LoadError(f"{where}: found rank {found}, expected {rank} by {config.file}")
        self.parts[f"{module}.weight"] = Part(name, b, rank, scale)

    def __enter__(self) -> Adapter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.file.close()

    def digests(self) -> dict[str, str]:
        """SHA-256 of the config and of every tensor, by name."""
        config = (self.path / "adapter_config.json").read_bytes()
        found = {"adapter_config.json": hashlib.sha256(config).hexdigest()}
        for name in self.file.names():
            dtype, shape, data = self.file.raw(name)
            hashed = hashlib.sha256(f"{dtype} {list(shape)} ".encode())
            hashed.update(data)
            found[name] = hashed.hexdigest()
        return found


class Adapters:
    """Those that `load` was given, in their order; `merged` applies them to a tensor.

    adapters: opened one by one, and closed by `close`.
    """

    def __init__(self, adapters: Iterable[Any], checkpoint: Checkpoint) -> None:
        self._of: dict[str, list[tuple[Adapter, str]]] = {}
        self.all: list[Adapter] = []
        self._asked: set[str] = set()
        try:
            for adapter in adapters:
                self._add(adapter, checkpoint)
        except BaseException:
            self.close()
            raise

    def _add(self, adapter: Any, checkpoint: Checkpoint) -> None:
        self.all.append(adapter)
        path = adapter.path
        for name in [*adapter.parts, *adapter.replaced]:
            # Some checkpoints are saved from the bare model, without the first part of a name.
            known = next((n for n in (name, name.partition(".")[2]) if n in checkpoint), None)
            if known is None:
                raise LoadError(f"{path}: changes {show(name)}, which {checkpoint.path} has not")
            before = self._of.setdefault(known, [])
            if before and (name in adapter.replaced or before[0][1] in before[0][0].replaced):
                raise LoadError(f"{path} and {before[0][0].path}: both say what {known} is")
            before.append((adapter, name))

    def digest(self) -> str | None:
        """Of all that the adapters hold; None without any."""
        if not self.all:
            return None
        text = json.dumps([adapter.digests() for adapter in self.all], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def merged(self, view: TensorView, transposed: bool = False) -> TensorView:
        """The tensor with the adapters in it, in float32; transposed: stored as [in, out]."""
        changes = self._of.get(view.name)
        if not changes:
            return view
        adapter, name = changes[0]
        if name in adapter.replaced:
            return adapter.file.tensor(adapter.replaced[name], view.shape)
        sum_ = to_float32(view).reshape(view.shape)
        for adapter, name in changes:
            sum_ = _plus(sum_, adapter, adapter.parts[name], transposed)
        data = np.ascontiguousarray(sum_).reshape(-1).view(np.uint8)
        return replace(view, dtype="F32", data=data, mapped=False)

    def asked(self, name: str) -> None:
        """Notes that the model has a use for a tensor that `merged` was applied to."""
        self._asked.add(name)

    def check_used(self) -> None:
        """LoadError for a change of a tensor that the model did not ask for."""
        for name, changes in self._of.items():
            if name not in self._asked:
                raise LoadError(
                    f"{changes[0][0].path}: changes {show(name)}, which is not a matrix"
                    " that adapters are merged into"
                )

    def close(self) -> None:
        for adapter in self.all:
            adapter.file.close()

    def __enter__(self) -> Adapters:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _plus(weight: np.ndarray, adapter: Any, part: Part, transposed: bool) -> np.ndarray:
    """weight + scale · B A, each sum over r in ascending order, whatever the threads. Of a
    convolution [out, in, kh, kw], A is one too, and B one of 1 × 1."""
    rows, cols, *taps = weight.shape[::-1] if transposed else weight.shape
    a = _factor(adapter, part.a, (part.rank, cols, *taps))
    b = _factor(adapter, part.b, (rows, part.rank, *(1 for _ in taps)))
    b *= np.float32(part.scale)
    if transposed:
        return ops.matmul(np.ascontiguousarray(a.T), b, residual=weight)
    flat = weight.reshape(rows, -1)
    return ops.matmul(b, np.ascontiguousarray(a.T), residual=flat).reshape(weight.shape)


def _factor(adapter: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of an adapter as a matrix; a matrix is as good as a 1 × 1 convolution."""
    stored = adapter.file.shape(name)
    pointwise = {shape[:2], (*shape[:2], 1, 1)}
    if set(shape[2:]) <= {1} and stored in pointwise:
        shape = stored
    return to_float32(adapter.file.tensor(name, shape)).reshape(shape[0], -1)


def check_config(config: Fields) -> None:
    """LoadError for what PEFT knows and is not done here."""
    config.str_choice("peft_type", ("LORA",))
    for name, off in _REFUSED.items():
        if config.values.get(name) not in (None, off, [], {}):
            config.fail(name, f"{json.dumps(off)}: adapters with it cannot be merged")
    config.str_choice("bias", ("none", "all", "lora_only"), default="none")


def rank_and_scale(config: Fields, module: str) -> tuple[int, float]:
    """What an adapter_config.json says of one module."""
    rank = _of_pattern(config, "rank_pattern", module)
    rank = config.int("r", 1, 1 << 16) if rank is None else int(rank)
    alpha = _of_pattern(config, "alpha_pattern", module)
    alpha = config.number("lora_alpha", 0, 1e9, default=8) if alpha is None else float(alpha)
    root = config.bool("use_rslora", default=False)
    return rank, alpha / (math.sqrt(rank) if root else rank)


def _is_target(config: Fields, module: str) -> bool:
    """As PEFT decides: a regular expression for the whole name, or the ends of names."""
    targets = config.values.get("target_modules")
    if isinstance(targets, str):
        try:
            return targets == "all-linear" or re.fullmatch(targets, module) is not None
        except re.error as error:
            config.fail("target_modules", f"a regular expression ({error})")
    if not isinstance(targets, list):
        config.fail("target_modules", "a list of names or a regular expression")
    return any(module == t or module.endswith(f".{t}") for t in targets)


def _of_pattern(config: Fields, field: str, module: str) -> Any:
    """The number that a pattern gives a module, or None."""
    patterns = config.object(field, default=None)
    for key, value in (patterns.values if patterns else {}).items():
        if re.fullmatch(rf"(.*\.)?({key})", module):
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                config.fail(field, "positive numbers by names")
            return value
    return None
