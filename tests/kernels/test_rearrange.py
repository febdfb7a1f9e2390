import numpy as np
import pytest

import genfast
from genfast import ops
from genfast.images.graph import ImageGraph
from genfast.images.runner import Runner

ISAS = genfast.cpu_info()["isas"]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_upsample(rng, isa, factor, threads):
    x = rng.normal(size=(2, 5, 3, 4)).astype(np.float32)
    expected = x.repeat(factor, 2).repeat(factor, 3)
    assert ops.upsample(x, factor, isa=isa, threads=threads).tobytes() == expected.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_pixel_shuffle(rng, isa, factor, channels_last):
    n, c, h, w = 2, 5, 3, 4
    x = rng.normal(size=(n, c * factor**2, h, w)).astype(np.float32)
    if channels_last:
        parts = x.reshape(n, factor, factor, c, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, c, factor, factor, h, w).transpose(0, 1, 4, 2, 5, 3)
    expected = np.ascontiguousarray(parts).reshape(n, c, h * factor, w * factor)
    got = ops.pixel_shuffle(x, factor, channels_last=channels_last, isa=isa)
    assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_concat(rng, isa):
    x, y = (rng.normal(size=(2, c, 3, 4)).astype(np.float32) for c in (5, 18))
    assert ops.concat(x, y, isa=isa).tobytes() == np.concatenate([x, y], 1).tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_rows_and_columns_are_cut_out_and_joined(rng, isa):
    x, y = (rng.normal(size=(3 * rows, 10)).astype(np.float32) for rows in (4, 2))
    g = ImageGraph()
    a, b = g.input("x", *x.shape), g.input("y", *y.shape)
    joined = g.concat_rows(a, b, items=3)
    g.output("joined", joined)
    g.output("rows", g.rows(joined, 4, 2, items=3))
    g.output("columns", g.columns(joined, 3, 5))
    out = Runner(g, isa=isa).run(x=x, y=y)
    expected = np.concatenate([x.reshape(3, 4, 10), y.reshape(3, 2, 10)], 1).reshape(18, 10)
    assert out["joined"].tobytes() == expected.tobytes()
    assert out["rows"].tobytes() == y.tobytes()
    assert out["columns"].tobytes() == np.ascontiguousarray(expected[:, 3:8]).tobytes()


def test_wrong_shapes_are_refused():
    x = np.ones((1, 6, 2, 2), np.float32)
    with pytest.raises(ValueError, match="factor² = 4"):
        ops.pixel_shuffle(x)
    with pytest.raises(ValueError, match="factor=0"):
        ops.upsample(x, 0)
    with pytest.raises(ValueError, match="x has 4 rows, y 2"):
        ops.concat(x, x[:, :, :1])
    g = ImageGraph()
    a = g.input("a", 6, 8)
    with pytest.raises(ValueError, match="do not lie within"):
        g.columns(a, 4, 5)
    with pytest.raises(ValueError, match="items=4"):
        g.rows(a, 0, 1, items=4)
