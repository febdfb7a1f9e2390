import numpy as np
import pytest

import genfast
from genfast import _core, ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def packed(w, format="f32"):
    """w [C, O, k, k]"""
    rows = np.ascontiguousarray(w.transpose(2, 3, 1, 0)).reshape(-1, len(w))
    return _core.Weight(format, [(rows.view(np.uint8).reshape(-1), "F32", *rows.shape, False)])


def definition(x, w, stride, padding):
    """Every input pixel adds its picture of the kernel to the output, in float64."""
    n, _, height, width = x.shape
    k = w.shape[-1]
    whole = np.zeros((n, w.shape[1], (height - 1) * stride + k, (width - 1) * stride + k))
    for y in range(height):
        for z in range(width):
            part = np.einsum("nc,coij->noij", x[:, :, y, z].astype(np.float64), w)
            whole[:, :, y * stride : y * stride + k, z * stride : z * stride + k] += part
    end = (slice(padding, -padding or None),) * 2
    return whole[(slice(None), slice(None), *end)]


CASES = [  # N, C, O, H, W, kernel, stride, padding
    (1, 3, 5, 3, 4, 4, 2, 1),
    (2, 20, 33, 4, 4, 4, 2, 1),
    (1, 17, 8, 1, 1, 4, 1, 0),
    (1, 8, 3, 5, 2, 3, 1, 1),
    (1, 6, 16, 3, 3, 2, 2, 0),
    (1, 4, 4, 3, 3, 2, 3, 0),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_definition(rng, isa, case):
    n, c, o, h, w, kernel, stride, padding = case
    x = rng.normal(size=(n, c, h, w)).astype(np.float32)
    weight = rng.normal(size=(c, o, kernel, kernel)).astype(np.float32)
    bias = rng.normal(size=o).astype(np.float32)
    sizes = {"kernel": kernel, "stride": stride, "padding": padding}
    got = ops.conv_transpose2d(x, packed(weight), bias, isa=isa, **sizes)
    expected = definition(x, weight, stride, padding) + bias[:, None, None]
    size = definition(np.abs(x), np.abs(weight), stride, padding) + np.abs(bias)[:, None, None]
    # A part is C fused multiply-adds; at most k² parts meet, then comes the bias.
    assert got.shape == expected.shape
    assert (np.abs(got - expected) <= (c + kernel**2 + 2) * EPS32 / 2 * size).all()


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "ref"])
@pytest.mark.parametrize("format", ["bf16", "int8", "int4"])
def test_formats_are_those_of_the_reference(rng, isa, format):
    x = rng.normal(size=(2, 64, 5, 4)).astype(np.float32)
    weight = packed(rng.normal(size=(64, 24, 4, 4)).astype(np.float32), format)
    got = ops.conv_transpose2d(x, weight, activation="leaky_relu", isa=isa)
    expected = ops.conv_transpose2d(x, weight, activation="leaky_relu", isa="ref")
    # The same integers, or products of the same rounded numbers, in another order.
    assert np.abs(got - expected).max() <= 64 * EPS32 * np.abs(expected).max()


@pytest.mark.parametrize("isa", ISAS)
def test_same_bits_for_any_threads_and_batch(rng, isa):
    x = rng.normal(size=(3, 16, 4, 4)).astype(np.float32)
    weight = packed(rng.normal(size=(16, 20, 4, 4)).astype(np.float32))
    whole = ops.conv_transpose2d(x, weight, isa=isa, threads=1)
    for threads in (2, 3):
        assert (
            whole.tobytes() == ops.conv_transpose2d(x, weight, isa=isa, threads=threads).tobytes()
        )
    for n in range(3):
        assert whole[n].tobytes() == ops.conv_transpose2d(x[n : n + 1], weight, isa=isa).tobytes()


def test_wrong_shapes_are_refused():
    x = np.ones((1, 4, 2, 2), np.float32)
    weight = packed(np.ones((4, 3, 4, 4), np.float32))
    with pytest.raises(ValueError, match="must be packed, with"):
        ops.conv_transpose2d(x[:, :3], weight)
    with pytest.raises(ValueError, match="kernel² \\* outputs rows"):
        ops.conv_transpose2d(x, weight, kernel=5)
    for name in ("kernel", "stride"):
        with pytest.raises(ValueError, match=f"{name}=4294967296 .*must be 1 to 1024"):
            ops.conv_transpose2d(x, weight, **{name: 2**32})
    with pytest.raises(ValueError, match="bias has shape"):
        ops.conv_transpose2d(x, weight, np.ones(4, np.float32))
    with pytest.raises(ValueError, match="nothing remains"):
        ops.conv_transpose2d(x, weight, padding=3)
