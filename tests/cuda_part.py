"""genfast's CUDA part compiled for this CPU (tests/native/cuda), so that all of it but the GPU
itself can be tested anywhere."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("kernels", "emulation", "emulation_hopper", "device", "nccl")


def build(directory: Path) -> Path:
    """The shared object, made with the C++ compiler that is here; skips where there is none."""
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if compiler is None:
        pytest.skip("needs a C++ compiler")
    sources = ROOT / "tests" / "native" / "cuda"
    library = directory / "libgenfast_cuda.so"
    subprocess.run(
        [
            *(compiler, "-std=c++20", "-O1", "-ffp-contract=off", "-fPIC", "-shared"),
            *(f"-I{ROOT / 'csrc'}", f"-I{sources.parent}", "-Wno-unknown-pragmas"),
            *(str(sources / f"{name}.cc") for name in SOURCES),
            *("-o", str(library)),
        ],
        check=True,
    )
    return library
