import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def definition(x, w, stride, up, padding):
    """Zeros put in and around x, then a window at a time, in float64; w [C, kh, kw]."""
    n, c, height, width = x.shape
    top, left, bottom, right = padding
    size = (n, c, height * up + top + bottom, width * up + left + right)
    whole = np.zeros(size)
    rows, cols = (slice(a, a + side * up, up) for a, side in ((top, height), (left, width)))
    whole[:, :, rows, cols] = x
    windows = np.lib.stride_tricks.sliding_window_view(whole, w.shape[1:], axis=(2, 3))
    return np.einsum("ncyxij,cij->ncyx", windows[:, :, ::stride, ::stride], w)


CASES = [  # N, C, H, W, kh, kw, stride, up, padding
    (1, 3, 5, 4, 3, 3, 1, 1, (1, 1, 1, 1)),
    (2, 33, 6, 5, 4, 4, 1, 2, (2, 2, 1, 1)),
    (1, 17, 7, 7, 4, 4, 2, 1, (1, 1, 1, 1)),
    (1, 8, 4, 3, 2, 3, 3, 2, (0, 1, 2, 3)),
    (2, 1, 3, 3, 1, 1, 1, 1, (0, 0, 0, 0)),
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("shared", [False, True])
def test_matches_definition(rng, isa, case, shared):
    n, c, h, w, kh, kw, stride, up, padding = case
    x = rng.normal(size=(n, c, h, w)).astype(np.float32)
    taps = rng.normal(size=(kh, kw) if shared else (c, kh, kw)).astype(np.float32)
    bias = rng.normal(size=c).astype(np.float32)
    sizes = {"stride": stride, "up": up, "padding": padding}
    got = ops.depthwise_conv2d(x, taps, bias, isa=isa, **sizes)
    each = np.broadcast_to(taps, (c, kh, kw))
    expected = definition(x, each, **sizes) + bias[:, None, None]
    size = definition(np.abs(x), np.abs(each), **sizes) + np.abs(bias)[:, None, None]
    assert got.shape == expected.shape
    assert (np.abs(got - expected) <= (kh * kw + 2) * EPS32 / 2 * size).all()


@pytest.mark.parametrize("isa", ISAS)
def test_same_bits_for_any_threads_and_batch(rng, isa):
    x = rng.normal(size=(3, 20, 5, 6)).astype(np.float32)
    taps = rng.normal(size=(20, 3, 3)).astype(np.float32)
    whole = ops.depthwise_conv2d(x, taps, activation="silu", isa=isa, threads=1)
    for threads in (2, 3):
        again = ops.depthwise_conv2d(x, taps, activation="silu", isa=isa, threads=threads)
        assert whole.tobytes() == again.tobytes()
    for n in range(3):
        alone = ops.depthwise_conv2d(x[n : n + 1], taps, activation="silu", isa=isa)
        assert whole[n].tobytes() == alone.tobytes()


def test_wrong_shapes_are_refused():
    x = np.ones((1, 4, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"w has shape \[9, 3\], expected \[9, 4\]"):
        ops.depthwise_conv2d(x, np.ones((3, 3, 3)))
    with pytest.raises(ValueError, match="stride=0"):
        ops.depthwise_conv2d(x, np.ones((3, 3)), stride=0)
    with pytest.raises(ValueError, match="padding top=4294967295 must be 0 to 65536"):
        ops.depthwise_conv2d(x, np.ones((3, 3)), padding=2**32 - 1)
    with pytest.raises(ValueError, match=r"weight has shape \[9\], expected \[kh, kw\] or"):
        ops.depthwise_conv2d(x, np.ones(9))
    with pytest.raises(ValueError, match="a kernel of 6 x 6 does not fit an image of 3 x 3"):
        ops.depthwise_conv2d(x, np.ones((6, 6)))
    with pytest.raises(ValueError, match="bias has shape"):
        ops.depthwise_conv2d(x, np.ones((3, 3)), np.ones(3, np.float32))
