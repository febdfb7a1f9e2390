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
    declared = set(re.findall(r"^(?:def |class )?(\w+)(?:\(|:)", stub, re.M)) - {"ops"}
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


@pytest.fixture(scope="module")
def functions() -> dict[str, list[str]]:
    """The extension's instructions by function."""
    objdump = shutil.which("objdump")
    if not objdump:
        pytest.skip("needs objdump")
    listing = subprocess.run(
        [objdump, "-d", "-C", "--no-show-raw-insn", _core.__file__], capture_output=True, text=True
    ).stdout
    found: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if line.endswith(">:"):
            instructions = found.setdefault(line.split("<", 1)[1][:-2], [])
        elif "\t" in line:
            instructions.append(line.split("\t", 1)[1].strip())
    if not any("genfast::avx2::" in name for name in found):
        pytest.skip("the extension is stripped: build with -C install.strip=false to check it")
    return found


def test_no_wide_instruction_outside_the_wide_kernels(functions):
    """ymm and zmm registers appear only in functions of the namespaces avx2, avx512 and amx, tile
    registers only in those of amx."""
    assert len(functions) > 100

    def using(registers: str) -> set[str]:
        return {
            name
            for name, instructions in functions.items()
            if any(re.search(registers, instruction) for instruction in instructions)
        }

    tiled = using(r"%tmm|tilecfg|tilerelease")
    assert tiled
    wrong = {name for name in using(r"%[yz]mm") if not re.search(r"::(avx2|avx512|amx)::", name)}
    wrong |= {name for name in tiled if "genfast::amx::" not in name}
    assert not wrong, sorted(wrong)[:5]


# The largest tile of each kernel that tests/engine/test_kernel_choice.py sees chosen, its
# instruction, and how many sums it keeps: a register each. avx2's hold two vectors of sixteen.
TILES = {
    "int8_vnni": ("avx512::int8_tile<false, 12>", "vpdpbusd", 24),
    "int4_vnni": ("avx512::int4_tile<6>", "vpdpbusd", 12),
    "bf16_dot": ("avx512::dot_tile<false, 12>", "vdpbf16ps", 24),
    "attention bf16_dot": (
        "avx512::product<genfast::avx512::BFloat16Dot, 12, 2, true>",
        "vdpbf16ps",
        24,
    ),
    "attention int8_fixed": (
        "avx512::product_fixed<genfast::avx512::ByteCells, 6, 2, true>",
        "vpdpbusd",
        24,
    ),
    "attention int4_fixed": (  # of values; that of scores spills
        "avx512::product_fixed<genfast::avx512::NibbleCells, 6, 2, false>",
        "vpdpbusd",
        24,
    ),
}


@pytest.mark.parametrize("kernel", TILES)
def test_a_tile_is_its_instruction_and_keeps_its_sums_in_registers(functions, kernel):
    tile, instruction, sums = TILES[kernel]
    (body,) = (body for name, body in functions.items() if f"genfast::{tile}(" in name)
    targets = {line.rsplit("%", 1)[1] for line in body if line.startswith(instruction)}
    assert len(targets) >= sums
    spilled = [line for line in body if re.search(r"\(%r[sb]p.*%zmm|%zmm.*\(%r[sb]p", line)]
    assert not spilled


@pytest.mark.parametrize(
    ("tile", "instruction"),
    [("int8_tile<false, 6>", "vpmaddwd"), ("int4_tile<6>", "vpmaddubsw")],
)
def test_avx2_tiles_are_their_instructions(functions, tile, instruction):
    (body,) = (body for name, body in functions.items() if f"genfast::avx2::{tile}(" in name)
    assert sum(line.startswith(instruction) for line in body) >= 24
