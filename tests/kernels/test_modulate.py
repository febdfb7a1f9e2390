import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("N, T, C", [(1, 1, 1), (2, 3, 15), (3, 5, 16), (2, 4, 77)])
@pytest.mark.parametrize("plus_one", [True, False])
def test_modulate(rng, isa, N, T, C, plus_one):
    x, residual = rng.normal(size=(2, N, T, C)).astype(np.float32)
    scale, shift = rng.normal(size=(2, N, C)).astype(np.float32)
    wide = x.astype(np.float64)
    factor = (scale.astype(np.float64) + plus_one)[:, None]
    size = np.abs(wide) * (np.abs(factor) + 1) + np.abs(shift)[:, None] + np.abs(residual)
    for s, t, r in [(1, 1, 1), (1, 1, 0), (1, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0)]:
        got = ops.modulate(
            x,
            scale if s else None,
            shift if t else None,
            residual=residual if r else None,
            plus_one=plus_one,
            isa=isa,
        )
        expected = wide * factor if s else wide
        expected = expected + (shift[:, None] if t else 0) + (residual if r else 0)
        # 1 + scale, the product and each sum round once.
        assert (np.abs(got - expected) <= 2 * EPS32 * size).all()


@pytest.mark.parametrize("isa", ISAS)
def test_noise_of_rows_and_an_activation(rng, isa):
    x, residual = rng.normal(size=(2, 3, 5, 37)).astype(np.float32)
    scale, shift = rng.normal(size=(2, 3, 37)).astype(np.float32)
    noise = rng.normal(size=5).astype(np.float32)
    options = {"noise": noise, "activation": "leaky_relu", "residual": residual, "isa": isa}
    got = ops.modulate(x, scale, shift, plus_one=False, **options)
    inner = x.astype(np.float64) * scale[:, None] + shift[:, None] + noise[:, None]
    expected = np.where(inner < 0, 0.2 * inner, inner) + residual
    size = np.abs(x * scale[:, None]) + np.abs(shift)[:, None] + np.abs(noise)[:, None]
    assert (np.abs(got - expected) <= 3 * EPS32 * (size + np.abs(residual))).all()
    with pytest.raises(ValueError, match=r"noise has shape \[1, 4\], expected \[1, 5\]"):
        ops.modulate(x, scale, noise=noise[:4])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("rows", [1, 2, 6])
def test_add_repeats_rows(rng, isa, rows):
    x = rng.normal(size=(6, 37)).astype(np.float32)
    y = rng.normal(size=(rows, 37)).astype(np.float32)
    assert ops.add(x, y, isa=isa).tobytes() == (x + np.tile(y, (6 // rows, 1))).tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_same_bits_for_any_threads(rng, isa):
    x = rng.normal(size=(2, 9, 33)).astype(np.float32)
    scale, shift = rng.normal(size=(2, 2, 33)).astype(np.float32)
    one = ops.modulate(x, scale, shift, isa=isa, threads=1)
    for threads in (2, 3):
        assert one.tobytes() == ops.modulate(x, scale, shift, isa=isa, threads=threads).tobytes()


def test_wrong_shapes_are_refused():
    x = np.ones((2, 3, 8), np.float32)
    with pytest.raises(ValueError, match="do not fit conditions"):
        ops.modulate(x, np.ones((2, 7), np.float32))
    with pytest.raises(ValueError, match="no multiple of conditions"):
        ops.modulate(x, np.ones((4, 8), np.float32))
    with pytest.raises(ValueError, match="a scale or a shift"):
        ops.modulate(x)
    with pytest.raises(ValueError, match="no multiple of y"):
        ops.add(x, np.ones((4, 8), np.float32))
    with pytest.raises(ValueError, match="y has shape"):
        ops.add(x, np.ones((2, 7), np.float32))
