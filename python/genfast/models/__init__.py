"""The registry: one file per Hugging Face `model_type`, and the file's name is the model_type."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from ..errors import LoadError


def supported() -> list[str]:
    """Every `model_type` that has a file here, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def find(model_type: str, file: Path | str = "config.json") -> ModuleType:
    """The module that describes `model_type`; `file` is named in the LoadError when there is none.

    Only names listed by `supported()` are ever imported, so a config cannot choose what runs.
    """
    known = supported()
    if model_type not in known:
        shown = model_type if len(model_type) <= 80 else model_type[:77] + "..."
        raise LoadError(
            f"{file}: model_type {shown!r} is not supported; supported are {', '.join(known)}"
        )
    return importlib.import_module(f"{__name__}.{model_type}")
