"""Dependencies run one way: python → bindings → engine → program → kernels → quant, simd → core."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_INCLUDE = {
    "core": {"core"},
    "simd": {"simd", "core", "kernels/activation/activation.h"},
    "cuda": {"cuda", "comm", "core", "kernels/activation/activation.h"},
    "quant": {"quant", "core"},
    "kernels": {"kernels", "quant", "simd", "cuda", "comm", "core"},
    "io": {"io", "core"},
    "comm": {"comm", "core"},
    "program": {"program", "kernels", "quant", "comm", "core", "io"},
    "engine": {"engine", "program", "kernels", "quant", "comm", "core", "io"},
    "bindings": {"bindings", "engine", "program", "kernels", "quant", "comm", "core", "io"},
}
SOURCES = sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in (".h", ".cc", ".cu"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_includes_go_down(path):
    room = path.relative_to(ROOT / "csrc").parts[0]
    for include in re.findall(r'^#include "([^"]+)"', path.read_text(), re.M):
        allowed = MAY_INCLUDE[room]
        assert include.split("/")[0] in allowed or include in allowed, include
    if room != "bindings":
        assert "pybind11" not in path.read_text()
        assert "Python.h" not in path.read_text()


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if p.name.startswith(("simd", "avx", "neon", "vec"))],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_simd_sources_use_no_stl(path):
    """An inline function of the library, compiled for AVX-512, could be the copy that the linker
    keeps for everybody."""
    allowed = {"cstdint", "cstddef", "cstring", "immintrin.h", "arm_neon.h"}
    assert set(re.findall(r"^#include <([^>]+)>", path.read_text(), re.M)) <= allowed


PYTHON = sorted((ROOT / "python" / "genfast").rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(ROOT)))
def test_python_imports(path):
    names = imports(path)
    assert not {name.split(".")[0] for name in names} & {"torch", "transformers", "tensorflow"}
    if {"cli", "serve"} & set(path.parts):
        assert "genfast._core" not in names, "front ends stand on the public API alone"
    if "models" in path.parts and path.name != "__init__.py":
        assert not names & {"genfast.api", "genfast.model", "genfast._core"}


EVERYTHING = sorted(
    [
        *SOURCES,
        *PYTHON,
        *(p for room in ("tests", "bench", "tools") for p in (ROOT / room).rglob("*.py")),
    ]
)


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= 400


def test_every_kernel_has_a_test_and_a_bench():
    folders = [p.name for p in (ROOT / "csrc" / "kernels").iterdir() if p.is_dir()]
    assert folders
    for name in folders:
        assert (ROOT / "csrc" / "kernels" / name / f"{name}.h").exists(), name
        assert (ROOT / "tests" / "kernels" / f"test_{name}.py").exists(), name
        assert (ROOT / "bench" / f"bench_{name}.py").exists(), name
