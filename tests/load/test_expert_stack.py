"""Experts in one tensor: MXFP4's numbers, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import tiny_model
from genfast import LoadError
from genfast.checkpoint import Checkpoint
from genfast.expert_stack import ExpertStack

# The sixteen numbers of E2M1, from its definition: a sign, two bits of exponent with bias 1, a bit.
E2M1 = [
    (-1) ** (n >> 3) * (2.0 ** max((n >> 1 & 3) - 1, 0)) * (float(n >> 1 & 3 > 0) + (n & 1) / 2)
    for n in range(16)
]


def stack(directory, tensors, rows=4, cols=64):
    tiny_model.write_safetensors(directory / "model.safetensors", tensors)
    return ExpertStack(Checkpoint(directory), "x", 2, rows, cols)


def floats(view):
    return (view.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(view.shape)


def test_mxfp4_is_exact(rng, tmp_path):
    blocks = rng.integers(0, 256, (2, 4, 2, 16)).astype(np.uint8)
    scales = rng.integers(2, 250, (2, 4, 2)).astype(np.uint8)
    found = stack(tmp_path, {"x_blocks": blocks, "x_scales": scales})
    nibbles = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(2, 4, 2, 32)
    expected = np.array(E2M1)[nibbles] * 2.0 ** (scales[..., None].astype(int) - 127)
    for e in range(2):
        whole = floats(found.matrix(e, take_turns=False)[0])
        assert (whole == expected[e].reshape(4, 64)).all()
        gate, up = (floats(view) for view in found.matrix(e, take_turns=True))
        assert (gate == whole[0::2]).all()
        assert (up == whole[1::2]).all()


@pytest.mark.parametrize("name, shape", [("x_blocks", (2, 4, 1, 16)), ("x_scales", (2, 4, 3))])
def test_wrong_shapes_are_named(tmp_path, name, shape):
    tensors = {"x_blocks": (2, 4, 2, 16), "x_scales": (2, 4, 2)} | {name: shape}
    with pytest.raises(LoadError, match=rf"safetensors: tensor \"{name}\": found U8 \[2, 4"):
        stack(tmp_path, {n: np.zeros(s, np.uint8) for n, s in tensors.items()})


def test_floats_in_place_of_bytes_are_named(tmp_path):
    tensors = {"x_blocks": np.zeros((2, 4, 2, 16), np.float32), "x_scales": np.zeros((2, 4, 2))}
    with pytest.raises(LoadError, match=r"found F32 .* expected U8 \[2, 4, 2, 16\]"):
        stack(tmp_path, tensors)
