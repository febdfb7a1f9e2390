"""From a directory to a pipeline: model_index.json, or the config.json of a lone image model.

Whatever is wrong is a LoadError that names the file, the component or field, what was found and
what was expected.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genfast.config import Fields, read_object
from genfast.errors import LoadError
from genfast.images import schedulers
from genfast.images.lora import Lora

# The model_types of models that are no pipeline of several, and the fields by which those whose own
# configs have no model_type are known.
_LONE_FIELDS: dict[str, frozenset[str]] = {
    "biggan": frozenset({"channel_width", "attention_layer_position"}),
    "dcgan": frozenset(),
    "janus": frozenset(),
    "stylegan2": frozenset({"w_dim", "img_resolution"}),
}


@dataclass(frozen=True)
class LoadOptions:
    """How `genfast.load` was asked to load weights. adapters: LoRAs and their strengths."""

    dtype: str = "auto"
    quantize: str | None = None
    threads: int = 0
    progress: bool = False
    adapters: Sequence[tuple[Path, float]] = ()
    winograd: bool = False

    def keywords(self) -> dict[str, Any]:
        return {
            "dtype": self.dtype,
            "quantize": self.quantize,
            "threads": self.threads,
            "progress": self.progress,
            "winograd": self.winograd,
        }


class Index:
    """A model_index.json: which component is of which class; each has a folder of its name."""

    def __init__(self, directory: Path, options: LoadOptions) -> None:
        self.directory, self.options = directory, options
        file = directory / "model_index.json"
        self.fields = Fields(read_object(file), file)
        self._loras: list[Lora] | None = None
        self._opened: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether a component is there; [null, null] is how diffusers says that it is not."""
        return self.fields.values.get(name) not in (None, [None, None])

    def class_of(self, name: str, *known: str) -> str:
        """The class of component `name`, one of `known`."""
        value = self.fields.values.get(name)
        expected = f'["a library", a class: {" or ".join(known)}]'
        if not isinstance(value, list) or len(value) != 2 or value[1] not in known:
            self.fields.fail(name, expected)
        return value[1]

    def folder(self, name: str, *files: str) -> Path:
        """The folder of component `name`, which must hold one of `files`: config.json."""
        folder = self.directory / name
        if not folder.is_dir():
            raise LoadError(
                f"{self.directory}: component {name}: no folder {name}, though model_index.json "
                "names it; is the download complete?"
            )
        files = files or ("config.json",)
        if not any((folder / file).exists() for file in files):
            wanted = " or ".join(files)
            raise LoadError(f"{folder}: component {name}: no {wanted}; is the download complete?")
        return folder

    def network(self, name: str, kinds: dict[str, Callable[..., Any]]) -> Any:
        """Opens component `name`. kinds: what opens each class that is known."""
        kind = self.class_of(name, *kinds)
        self._opened.add(name)
        loras = [(name, lora) for lora in self.loras() if name in lora.components]
        more = {"loras": loras} if loras else {}
        return kinds[kind](self.folder(name), **self.options.keywords(), **more)

    def loras(self) -> list[Lora]:
        """What `load` was given as adapters."""
        if self._loras is None:
            values = self.fields.values
            known = [c for c in ("unet", "transformer") if self.has(c)]
            networks = [c for c, value in values.items() if isinstance(value, list)]
            known += [c for c in networks if self.has(c) and c not in known]
            given = self.options.adapters
            self._loras = [Lora(path, strength, known) for path, strength in given]
        return self._loras

    def check_used(self) -> None:
        """LoadError for a LoRA of a component that no network was opened for."""
        for lora in self.loras():
            for name in lora.components:
                if name not in self._opened:
                    raise LoadError(f"{lora.path}: changes {name}, which is no network here")

    def scheduler(self) -> tuple[schedulers.Scheduler, Fields]:
        """The scheduler, and its fields for those that `generate` may take instead."""
        self.class_of("scheduler", *schedulers.CLASSES)
        folder = self.folder("scheduler", "scheduler_config.json")
        return schedulers.read_scheduler(folder / "scheduler_config.json")


def is_image_directory(directory: Path) -> bool:
    """Whether `open_pipeline` is for this directory, and not the text models."""
    return os.path.isfile(directory / "model_index.json") or _lone_kind(directory) is not None


def open_pipeline(directory: Path, options: LoadOptions) -> Any:
    """The pipeline of a directory. LoadError for one that is broken or of an unknown kind."""
    from genfast.images.pipelines import kinds  # here, as pipelines need this file

    if not os.path.isfile(directory / "model_index.json"):
        kind = _lone_kind(directory)
        if kind is None:
            raise LoadError(f"{directory}: holds no image model: no model_index.json")
        if options.adapters:
            raise ValueError(f"adapters are not allowed: {directory} is no pipeline of diffusers")
        return kinds.LONE[kind](directory, options)
    index = Index(directory, options)
    pipeline = kinds.INDEXED[index.fields.str_choice("_class_name", kinds.INDEXED)](index)
    index.check_used()
    return pipeline


def _lone_kind(directory: Path) -> str | None:
    """The kind of an image model that is no pipeline of several, by its files."""
    file = directory / "config.json"
    if not os.path.isfile(file):
        return None
    config = read_object(file)
    if "model_type" in config:
        named = config["model_type"]  # of any type: a file says what it likes
        return next((kind for kind in _LONE_FIELDS if kind == named), None)
    for kind, fields in _LONE_FIELDS.items():
        if fields and fields <= config.keys():
            return kind
    if os.path.isfile(directory / "diffusion_model.safetensors"):
        return "label_dit"
    return None
