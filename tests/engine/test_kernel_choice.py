"""That the two shapes performance is about run on the kernels made for them, by instruction set.

A proof without timing: the dump names the kernel of each instruction, and the disassembly of those
kernels (test_package.py) shows what they are made of. The shapes are those of bench/shapes.py, one
layer with a small vocabulary; which kernel is chosen depends on neither, nor on the weights, which
are zeros.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import genfast
import tiny_model

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))
import shapes

SMALL = {"num_hidden_layers": 1, "vocab_size": 256}
DOT, FP8_DOT = ("bf16_dot", "fp8_dot") if genfast.cpu_info()["avx512_bf16"] else ("bf16", "fp8")
MATMUL = {
    "ref": {"bf16": "ref", "int8": "ref", "int4": "ref", "fp8": "ref"},
    "avx2": {"bf16": "bf16", "int8": "int8_madd", "int4": "int4_maddubs", "fp8": "fp8"},
    "avx512": {"bf16": DOT, "int8": "int8_vnni", "int4": "int4_vnni", "fp8": FP8_DOT},
    "amx": {"bf16": "bf16_amx", "int8": "int8_amx", "int4": "int4_vnni", "fp8": "fp8_amx"},
}
ATTENTION = {
    "ref": {"bfloat16": "ref", "int8": "ref", "int4": "ref", "fp8": "ref"},
    "avx2": {"bfloat16": "bf16", "int8": "int8_fixed", "int4": "int4_fixed", "fp8": "fp8"},
    "avx512": {"bfloat16": DOT, "int8": "int8_fixed", "int4": "int4_fixed", "fp8": "fp8"},
}
ATTENTION["amx"] = ATTENTION["avx512"]  # of the cache: no tiles there
OPTIONS = {
    "bf16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8", "kv_dtype": "int8"},
    "int4": {"quantize": "int4", "kv_dtype": "int4"},
    "fp8": {"quantize": "fp8", "kv_dtype": "fp8"},
}


@pytest.fixture(scope="module", params=shapes.SHAPES)
def directory(request, tmp_path_factory):
    config = shapes.config(request.param) | SMALL
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.tensors(config).items()}
    where = tmp_path_factory.mktemp(request.param)
    return tiny_model.write_model(where, config, 0, "BF16", tensors=zeros)


def kernels(dump: str) -> dict[str, tuple[str, str]]:
    """{value: (op, kernel)} of every instruction."""
    lines = dump.splitlines()[1:]
    found = [re.match(r" *\d+  (\S+) = (\w+)\(.*  kernel (.+?)  slot ", line) for line in lines]
    assert all(found), dump
    return {match[1]: (match[2], match[3]) for match in found}


@pytest.mark.parametrize("fmt", OPTIONS)
@pytest.mark.parametrize("isa", genfast.cpu_info()["isas"])
def test_every_instruction_runs_on_its_packed_kernel(directory, isa, fmt, monkeypatch):
    monkeypatch.setenv("GENFAST_ISA", isa)
    with genfast.load(directory, kv_cache_bytes=1 << 22, **OPTIONS[fmt]) as model:
        chosen, kv_dtype = kernels(model.dump()), model.kv_dtype
    packed = MATMUL[isa][fmt]
    layer = {
        "qkv": packed,
        "attention": ATTENTION[isa][kv_dtype],
        "attention_out": packed,
        "gate_up": f"{packed} gated",
        "mlp_out": packed,
    }
    expected = {f"layers.0.{name}": kernel for name, kernel in layer.items()}
    # int4 and fp8 would cost the logits more than they save: the tied table stays int8.
    expected["logits"] = MATMUL[isa]["bf16" if fmt == "bf16" else "int8"]
    heavy = {name: kernel for name, (op, kernel) in chosen.items() if op in ("matmul", "attention")}
    assert heavy == expected
    # Nothing computes the product of gate and up apart from that matmul.
    assert "swiglu" not in {op for op, _ in chosen.values()}
