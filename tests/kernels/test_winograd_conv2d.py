import numpy as np
import pytest

import genfast
from genfast import _core, ops
from genfast.images.weights import winograd_filters

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
FORMATS = ["f32", "bf16", "int8", "int4"]
CASES = [(1, 16, 32, 4, 6), (2, 32, 64, 7, 5), (1, 48, 48, 1, 1), (1, 64, 32, 40, 41)]  # N C O H W


def packed(weight, format="f32"):
    """weight [O, C, 3, 3]"""
    rows = winograd_filters(weight)
    return _core.Weight(format, [(rows.view(np.uint8).reshape(-1), "F32", *rows.shape, False)])


def random_case(rng, case):
    n, c, o, h, w = case
    x = rng.normal(size=(n, c, h, w)).astype(np.float32)
    weight = rng.normal(size=(o, c, 3, 3)).astype(np.float32)
    bias = rng.normal(size=o).astype(np.float32)
    return x, weight, bias, rng.normal(size=(n, o, h, w)).astype(np.float32)


def convolution(x, weight):
    """The definition, in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))
    return np.einsum("nchwij,ocij->nohw", windows, weight.astype(np.float64), optimize=True)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_definition(rng, isa, case):
    x, weight, bias, residual = random_case(rng, case)
    expected = convolution(x, weight) + bias[:, None, None] + residual
    got = ops.winograd_conv2d(x, packed(weight), len(weight), bias, residual=residual, isa=isa)
    # A transformed pixel is a sum of four (two roundings), a filter's number one of nine (one), a
    # product's sum C fused ones, and a pixel of the output nine of those (four roundings), its bias
    # and its residual. Magnitudes: 4 · 9/4 · 9 times those of the sums of the definition.
    size = 4 * 9 / 4 * 9 * np.abs(x).max() * np.abs(weight).max() * x.shape[1]
    bound = EPS32 / 2 * ((x.shape[1] + 7) * size + 4 * np.abs(expected).max())
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() <= bound
    # The bound is of the worst case; errors are random.
    assert np.linalg.norm(got - expected) <= 4e-6 * np.linalg.norm(expected)


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "ref"])
@pytest.mark.parametrize("format", FORMATS)
def test_same_bits_for_any_threads_and_batch(rng, isa, format):
    x, weight, bias, _ = random_case(rng, (2, 32, 32, 33, 34))  # 289 tiles each: two blocks
    weight = packed(weight, format)
    whole = ops.winograd_conv2d(x, weight, 32, bias, activation="silu", isa=isa, threads=1)
    for threads in (2, 3):
        again = ops.winograd_conv2d(
            x, weight, 32, bias, activation="silu", isa=isa, threads=threads
        )
        assert whole.tobytes() == again.tobytes()
    for n in range(2):
        alone = ops.winograd_conv2d(x[n : n + 1], weight, 32, bias, activation="silu", isa=isa)
        assert whole[n].tobytes() == alone[0].tobytes()


@pytest.mark.parametrize("format", FORMATS)
def test_every_instruction_set_agrees(rng, format):
    x, weight, bias, _ = random_case(rng, (1, 64, 32, 9, 10))
    weight = packed(weight, format)
    expected = ops.winograd_conv2d(x, weight, 32, bias, isa="ref")
    for isa in ISAS:
        got = ops.winograd_conv2d(x, weight, 32, bias, isa=isa)
        # Sums of products are fused in one and not in the other: a few roundings of 64 each.
        assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize(("format", "limit"), [("bf16", 0.01), ("int8", 0.04)])
def test_what_rounding_costs(rng, format, limit):
    x, weight, _, _ = random_case(rng, (1, 64, 32, 16, 16))
    expected = convolution(x, weight)
    got = ops.winograd_conv2d(x, packed(weight, format), 32)
    assert np.linalg.norm(got - expected) <= limit * np.linalg.norm(expected)


def test_wrong_shapes_are_refused():
    x = np.ones((1, 16, 5, 5), np.float32)
    weight = packed(np.ones((32, 16, 3, 3), np.float32))
    with pytest.raises(ValueError, match="must have channels = 32 columns"):
        ops.winograd_conv2d(np.ones((1, 32, 5, 5), np.float32), weight, 32)
    with pytest.raises(ValueError, match="8 channels and outputs=32 must be multiples of 16"):
        ops.winograd_conv2d(x[:, :8], packed(np.ones((32, 8, 3, 3), np.float32)), 32)
    with pytest.raises(ValueError, match="16 \\* outputs rows, outputs=48"):
        ops.winograd_conv2d(x, weight, 48)
    with pytest.raises(ValueError, match="bias has shape"):
        ops.winograd_conv2d(x, weight, 32, np.ones(4, np.float32))
