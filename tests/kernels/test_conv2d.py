import numpy as np
import pytest

import genfast
from genfast import _core, ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
FORMATS = ["f32", "bf16", "int8", "int4", "fp8"]


def packed(w, format="f32"):
    """w [O, C, kh, kw]"""
    rows = np.ascontiguousarray(w.transpose(0, 2, 3, 1)).reshape(len(w), -1)
    source = (rows.view(np.uint8).reshape(-1), "F32", *rows.shape, False)
    return _core.Weight(format, [source])


def patches(x, kernel, stride, padding):
    """[N, H', W', kh · kw · C]: what the kernel sees around every output pixel."""
    top, left, bottom, right = padding
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel, (2, 3))[:, :, ::stride, ::stride]
    n, _, h, w, _, _ = windows.shape
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 4, 5, 1)).reshape(n, h, w, -1)


CASES = [
    # N, C, O, H, W, kernel, stride, padding
    (1, 3, 5, 4, 6, (3, 3), 1, (1, 1, 1, 1)),
    (2, 16, 40, 7, 5, (3, 3), 2, (1, 1, 1, 1)),
    (1, 33, 32, 8, 8, (3, 3), 2, (0, 0, 1, 1)),
    (2, 5, 33, 6, 6, (1, 1), 1, (0, 0, 0, 0)),
    (1, 4, 8, 9, 9, (1, 1), 2, (0, 0, 0, 0)),
    (1, 2, 3, 8, 8, (4, 4), 4, (0, 0, 0, 0)),
    (1, 7, 4, 3, 2, (5, 3), 1, (2, 1, 2, 1)),
    (1, 6, 9, 2, 2, (2, 2), 1, (0, 0, 0, 0)),
    # 64 columns lie within a pixel: patches are read where the pixels are
    (2, 64, 40, 7, 5, (3, 3), 2, (1, 1, 1, 1)),
    (1, 64, 4, 3, 2, (5, 3), 1, (2, 1, 2, 1)),
    (2, 128, 8, 9, 9, (1, 1), 2, (0, 0, 0, 0)),
    (3, 64, 8, 5, 4, (3, 3), 3, (3, 4, 3, 4)),
    # and few of these are prepared at a time: 96 rows of 11520 are a block
    (3, 1280, 8, 13, 12, (3, 3), 2, (1, 1, 1, 1)),
]


def random_case(rng, case):
    n, c, o, h, w, kernel, stride, padding = case
    x = rng.normal(size=(n, c, h, w)).astype(np.float32)
    weight = rng.normal(size=(o, c, *kernel)).astype(np.float32)
    bias = rng.normal(size=o).astype(np.float32)
    return x, weight, bias, {"kernel": kernel, "stride": stride, "padding": padding}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_matches_definition(rng, isa, case):
    x, weight, bias, sizes = random_case(rng, case)
    rows = patches(x, **sizes).astype(np.float64)
    matrix = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1).astype(np.float64)
    expected = (rows @ matrix.T + bias).transpose(0, 3, 1, 2)
    got = ops.conv2d(x, packed(weight), bias, isa=isa, **sizes)
    # K fused multiply-adds, the bias, and the reference's last rounding: half an ulp each
    size = (np.abs(rows) @ np.abs(matrix).T + np.abs(bias)).transpose(0, 3, 1, 2)
    assert got.shape == expected.shape
    assert (np.abs(got - expected) <= (matrix.shape[1] + 2) * EPS32 / 2 * size).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_is_a_matmul_of_patches_to_the_bit(rng, isa, format, case):
    x, weight, bias, sizes = random_case(rng, case)
    rows, matrix = patches(x, **sizes), packed(weight, format)
    residual = rng.normal(size=(*rows.shape[:3], len(weight))).astype(np.float32)
    expected = ops.matmul(rows, matrix, bias, residual, activation="silu", isa=isa)
    got = ops.conv2d(
        x,
        matrix,
        bias,
        residual=residual.transpose(0, 3, 1, 2),
        activation="silu",
        isa=isa,
        **sizes,
    )
    assert got.transpose(0, 2, 3, 1).tobytes() == expected.tobytes()


@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "ref"])
@pytest.mark.parametrize("format", FORMATS)
# Of 64 channels, pixels lie ready; of 20, patches are put together. A block of f32 rows is 8 MB by
# AVX2: 3640 rows of 576 numbers, fewer than an image here has. Each thread has its own.
@pytest.mark.parametrize(("C", "stride"), [(64, 1), (64, 2), (20, 1)])
def test_same_bits_for_any_threads_and_batch(rng, isa, format, C, stride):
    x = rng.normal(size=(2, C, 64, 64)).astype(np.float32)
    weight = packed(rng.normal(size=(8, C, 3, 3)).astype(np.float32), format)
    whole = ops.conv2d(x, weight, stride=stride, isa=isa, threads=1)
    for threads in (2, 3):
        again = ops.conv2d(x, weight, stride=stride, isa=isa, threads=threads)
        assert whole.tobytes() == again.tobytes()
    for n in range(2):
        alone = ops.conv2d(x[n : n + 1], weight, stride=stride, isa=isa)
        assert whole[n].tobytes() == alone[0].tobytes()
    rows = patches(x, (3, 3), stride, (1, 1, 1, 1))
    expected = ops.matmul(rows, weight, isa=isa)
    assert whole.transpose(0, 2, 3, 1).tobytes() == expected.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_value_that_is_none_spoils_what_sees_it_alone(rng, isa, value):
    x = rng.normal(size=(1, 64, 6, 6)).astype(np.float32)
    x[0, 5, 2, 3] = value
    weight = packed(rng.normal(size=(8, 64, 3, 3)).astype(np.float32), "int8")
    finite = np.isfinite(ops.conv2d(x, weight, isa=isa)).all(axis=(0, 1))
    seen = np.zeros((6, 6), bool)
    seen[1:4, 2:5] = True
    assert (finite == ~seen).all()


def test_wrong_shapes_are_refused(rng):
    x = np.ones((1, 4, 5, 5), np.float32)
    weight = packed(np.ones((3, 4, 3, 3), np.float32))
    with pytest.raises(ValueError, match="columns"):
        ops.conv2d(x[:, :3], weight)
    with pytest.raises(ValueError, match="does not fit an image of 2 x 5"):
        ops.conv2d(x[:, :, :2], weight, padding=0)
    with pytest.raises(ValueError, match="bias has shape"):
        ops.conv2d(x, weight, np.ones(4, np.float32))
    with pytest.raises(ValueError, match="residual has shape"):
        ops.conv2d(x, weight, residual=np.ones((1, 3, 4, 5), np.float32))
    for padding, found in (((-1, 0, 0, 0), "top=-1"), ((0, 0, 0, 2**32), "right=4294967296")):
        with pytest.raises(ValueError, match=f"padding {found} must be 0 to 65536"):
            ops.conv2d(x, weight, padding=padding)
    with pytest.raises(ValueError, match="is no image"):
        ops.conv2d(x[0, 0], weight)
