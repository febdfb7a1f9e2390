"""What is installed: small, quick to import, free of torch, typed, and honest about its ISA."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import genfast
from genfast import _core

ISAS = genfast.cpu_info()["isas"]


def run_python(code: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_brings_in_no_framework():
    code = "import genfast, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    assert not set(run_python(code).split()) & {"torch", "transformers", "tensorflow", "jax"}


def test_import_loads_few_modules():
    """Import time is kept short by importing little; the time itself is for a bench."""
    out = run_python("import genfast, sys; print(len(sys.modules))")
    assert int(out) < 700


def test_the_extension_is_small():
    size = Path(_core.__file__).stat().st_size
    assert size <= 10_000_000, f"{size} bytes"


def test_types_are_shipped():
    package = Path(genfast.__file__).parent
    assert (package / "py.typed").exists()
    assert (package / "_core.pyi").exists()


def test_the_stub_names_what_the_extension_has():
    stub = (Path(genfast.__file__).parent / "_core.pyi").read_text()
    declared = set(re.findall(r"^(?:def|class) (\w+)", stub, re.M))
    actual = {n for n in dir(_core) if not n.startswith("_") and n != "ops"}
    assert declared == actual


@pytest.mark.parametrize("isa", ISAS)
def test_genfast_isa_forces_an_instruction_set(isa):
    code = "import genfast; print(genfast.cpu_info()['isa'])"
    assert run_python(code, GENFAST_ISA=isa).strip() == isa


def test_an_unknown_isa_is_refused():
    code = """
import genfast
try:
    genfast.cpu_info()
except ValueError as error:
    print(error)
"""
    out = run_python(code, GENFAST_ISA="sse9")
    assert "GENFAST_ISA=sse9" in out and "ref" in out


def test_amx_is_offered_or_missing_for_a_reason():
    info = genfast.cpu_info()
    assert ("amx" in ISAS) == (info["amx_missing"] == "")
    assert "amx" not in ISAS or (info["amx_int8"] and info["amx_bf16"])


def test_the_best_isa_is_the_default():
    env = {k: v for k, v in os.environ.items() if k != "GENFAST_ISA"}
    done = subprocess.run(
        [sys.executable, "-c", "import genfast, json; print(json.dumps(genfast.cpu_info()))"],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    assert json.loads(done.stdout)["isa"] == ISAS[-1]


def test_no_wide_instruction_outside_the_wide_kernels():
    """ymm and zmm registers appear only in functions of the namespaces avx2, avx512 and amx, tile
    registers only in those of amx."""
    objdump = shutil.which("objdump")
    if not objdump:
        pytest.skip("needs objdump")
    library = _core.__file__
    symbols = subprocess.run(["nm", "-C", library], capture_output=True, text=True).stdout
    if "genfast::avx2::" not in symbols:
        pytest.skip("the extension is stripped: build with -C install.strip=false to check it")
    listing = subprocess.run(
        [objdump, "-d", "-C", "--no-show-raw-insn", library], capture_output=True, text=True
    ).stdout
    wide, tiles = r"genfast::(avx2|avx512|amx)::", r"genfast::amx::"
    owner, checked, tiled, wrong = "", 0, 0, set()
    for line in listing.splitlines():
        if line.endswith(">:"):
            owner = line
            checked += 1
        elif re.search(r"%[yz]mm", line) and not re.search(wide, owner):
            wrong.add(owner)
        elif re.search(r"%tmm|tilecfg|tilerelease", line):
            tiled += 1
            if not re.search(tiles, owner):
                wrong.add(owner)
    assert checked > 100 and tiled > 100
    assert not wrong, sorted(wrong)[:5]
