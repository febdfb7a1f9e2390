"""The recorded program: shapes checked at the line that records, dump, tap, GENFAST_CHECK."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from genfast import _core
from genfast.graph import Graph
from genfast.weights import PackedWeight


def weight(matrix, name="w", format="f32"):
    matrix = np.ascontiguousarray(matrix, np.float32)
    source = (matrix.reshape(-1).view(np.uint8), "F32", *matrix.shape, False)
    return PackedWeight(name, _core.Weight(format, [source]))


def test_a_wrong_shape_is_reported_where_it_was_recorded(rng):
    g = Graph()
    x = g.embed(g.token_ids, weight(rng.normal(size=(10, 8))))
    assert x.shape == ("T", 8)
    with pytest.raises(ValueError, match=r"test_program.py:\d+.*x has 8 columns"):
        g.matmul(x, weight(rng.normal(size=(4, 9))))
    with pytest.raises(ValueError, match="weight has shape"):
        g.rms_norm(x, np.ones(9, np.float32), 1e-5)
    with pytest.raises(ValueError, match="a multiple of kv_heads"):
        g.attention(x, heads=3, kv_heads=2, head_dim=1)
    wide = g.embed(g.token_ids, weight(rng.normal(size=(2, 3 * 257))))
    with pytest.raises(ValueError, match="head_dim=257 must be at most 256"):
        g.attention(wide, heads=1, kv_heads=1, head_dim=257)
    narrow = g.embed(g.token_ids, weight(rng.normal(size=(2, 24))))
    with pytest.raises(ValueError, match="scale=0 must be positive"):
        g.attention(narrow, heads=1, kv_heads=1, head_dim=8, scale=0.0)
    with pytest.raises(ValueError, match="y has 24 columns, expected 8 from first=17 on"):
        g.multiply(x, narrow, first=17)
    with pytest.raises(ValueError, match="y has 24 columns"):
        g.multiply(x, narrow, first=2**63 - 1)
    with pytest.raises(ValueError, match=r"the rows of x, .*, or one for all of them"):
        g.multiply(x, np.ones((2, 8), np.float32))
    with pytest.raises(ValueError, match="output rows"):
        g.program.set_output(x.id)


def test_dump_names_ops_kernels_and_lines(tiny):
    text = tiny.dump()
    assert "layers.0.qkv = matmul(" in text
    variant = _core.ops.matmul_variant("f32")
    assert f"kernel {variant}  " in text and "llama.py:" in text
    assert "[outputs, 97]" in text


def test_tap_reads_intermediates(tiny, prompt):
    tapped = tiny.tap(prompt, ["layers.0.qkv", "layers.2.attention", "logits"])
    assert tapped["layers.0.qkv"].shape == (len(prompt), 64 + 2 * 32)
    assert tapped["layers.2.attention"].shape == (len(prompt), 64)
    assert tapped["logits"].tobytes() == tiny.logits(prompt).tobytes()
    with pytest.raises(ValueError, match=r"no value 'layers\.9\.qkv'"):
        tiny.tap(prompt, ["layers.9.qkv"])


def test_buffers_are_shared(tiny):
    """The arena of a model with three layers needs few slots: lifetimes do not overlap."""
    slots = {line.split("slot ")[1].split()[0] for line in tiny.dump().splitlines()[1:]}
    assert len(slots) <= 6


CHECKED = """
import sys
import genfast
for options in ({}, {"quantize": "int8"}, {"quantize": "int4", "kv_dtype": "int8"},
                {"kv_dtype": "int4", "window": 8, "sinks": 2}):
    with genfast.load(sys.argv[1], **options) as model:
        print(len(model.generate([1, 2, 3], max_tokens=8).token_ids))
"""

# In float32 the sum 1e8 + 1 - 1e8 is 0, in double 1: reference and fast kernel differ.
CANCELLING = """
import numpy as np
from genfast import _core
from genfast.graph import Graph
from genfast.weights import PackedWeight

def weight(matrix):
    matrix = np.ascontiguousarray(matrix, np.float32)
    source = (matrix.reshape(-1).view(np.uint8), "F32", *matrix.shape, False)
    return PackedWeight("w", _core.Weight("f32", [source]))

g = Graph()
x = g.output_rows(g.embed(g.token_ids, weight([[1e8, 1, -1e8]])))
out = g.matmul(x, weight([[1, 1, 1]]), name="cancelling")
g.program.set_output(out.id)
engine = _core.Engine(program=g.program, layouts=[], threads=1, isa="", kv_pages=1, step_tokens=8,
                      sequences=2, context=8, vocabulary=1, check=True)
request = engine.submit([0], 1)
request.wait(1, 10)
print(request.snapshot()["error"])
"""


def run_checked(code: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "GENFAST_CHECK": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_genfast_check_passes_on_sound_kernels(tiny_dir):
    assert run_checked(CHECKED, str(tiny_dir)).split() == ["8"] * 4


def test_genfast_check_names_the_first_op_that_differs():
    if _core.cpu_info()["isa"] == "ref":
        pytest.skip("the reference agrees with itself")
    message = run_checked(CANCELLING)
    assert "GENFAST_CHECK: cancelling = matmul(...)" in message
    assert "row 0, column 0" in message
