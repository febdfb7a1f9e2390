"""BlinkDL's rwkv package: what runs the RWKV of make_family_goldens.py that transformers lacks."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch


def made_by() -> str:
    return f"rwkv {importlib.metadata.version('rwkv')} torch {torch.__version__}"


def load(spelling: dict[str, torch.Tensor], directory: Path, *, version: int) -> Callable:
    """What `make_family_goldens.logits_of` calls, of tensors spelt as BlinkDL's checkpoints."""
    os.environ |= {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0"}
    os.environ["RWKV_V7_ON"] = str(int(version == 7))  # which is looked at on import
    sys.modules.pop("rwkv.model", None)
    torch.save(spelling, directory / "peer.pth")
    with contextlib.redirect_stdout(io.StringIO()):
        from rwkv.model import RWKV

        model = RWKV(model=str(directory / "peer"), strategy="cpu fp32")

    def logits(ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(
            logits=model.forward(ids[0].tolist(), None, full_output=True)[0][None]
        )

    return logits
