"""DeepSeek-V3's float8 in blocks: the numbers, a whole model, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import families
import genfast
import tiny_model
from genfast import LoadError
from genfast.block_fp8 import BlockFp8
from genfast.checkpoint import Checkpoint
from quantised import E4M3, bfloat16


def pair(name, rng, rows, cols):
    """Bytes and scales of a matrix, and its numbers."""
    codes = rng.integers(0, 126, (rows, cols)) + 128 * rng.integers(0, 2, (rows, cols))
    scales = (rng.uniform(0.5, 2, (-(-rows // 128), -(-cols // 128))) / 448).astype(np.float32)
    spread = scales.repeat(128, 0)[:rows].repeat(128, 1)[:, :cols]
    numbers = bfloat16(E4M3[codes].astype(np.float32) * spread)
    stored = {name: codes.astype(np.uint8).view("V1"), f"{name}_scale_inv": scales}
    return stored, numbers


def test_numbers(rng, tmp_path):
    stored, expected = pair("x", rng, 200, 300)
    tiny_model.write_safetensors(tmp_path / "model.safetensors", stored)
    view = BlockFp8(Checkpoint(tmp_path), "x", (200, 300)).view()
    found = (view.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    assert (found.reshape(200, 300) == expected).all()


def test_every_byte(tmp_path):
    stored = {
        "x": np.arange(256, dtype=np.uint8).reshape(2, 128).view("V1"),
        "x_scale_inv": np.ones((1, 1), np.float32),
    }
    tiny_model.write_safetensors(tmp_path / "model.safetensors", stored)
    view = BlockFp8(Checkpoint(tmp_path), "x", (2, 128)).view()
    found = (view.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(found, E4M3.astype(np.float32))  # NaN where NaN is expected


@pytest.mark.parametrize("quantize", [None, "int8", "fp8"])
def test_a_model_is_that_of_its_numbers(rng, tmp_path, quantize):
    family = next(f for f in families.CASES if f.id == "deepseek_v3-base")
    with np.load(family.file) as file:
        shapes = json.loads(str(file["shapes"]))
    plain, stored = family.tensors(shapes), {}
    for name, tensor in plain.items():
        if "proj" in name and name.endswith(".weight"):
            parts, plain[name] = pair(name, rng, *tensor.shape)
            stored |= parts
        else:
            stored[name] = tensor
    config = family.full_config()
    quantised = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}
    tiny_model.write_model(tmp_path / "plain", config, 0, tensors=plain)
    config = config | {"quantization_config": quantised}
    tiny_model.write_model(tmp_path / "fp8", config, 0, tensors=stored)
    logits = []
    for directory in ("plain", "fp8"):
        with genfast.load(tmp_path / directory, dtype="float32", quantize=quantize) as model:
            logits.append(model.logits(list(range(20))).tobytes())
    assert logits[0] == logits[1]


@pytest.mark.parametrize("name, shape", [("x", (200, 299)), ("x_scale_inv", (2, 2))])
def test_wrong_shapes_are_named(rng, tmp_path, name, shape):
    stored, _ = pair("x", rng, 200, 300)
    stored[name] = np.zeros(shape, stored[name].dtype)
    tiny_model.write_safetensors(tmp_path / "model.safetensors", stored)
    with pytest.raises(LoadError, match=rf"tensor \"{name}\": found .* expected .* by config.json"):
        BlockFp8(Checkpoint(tmp_path), "x", (200, 300))
