import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def definition(x, groups, eps):
    """(x − mean) / deviation and |mean| / deviation, in float64."""
    n = len(x)
    grouped = x.astype(np.float64).reshape(n, groups, -1)
    mean = grouped.mean(-1, keepdims=True)
    deviation = np.sqrt(grouped.var(-1, keepdims=True) + eps)
    spread = np.broadcast_to(np.abs(mean) / deviation, grouped.shape)
    return ((grouped - mean) / deviation).reshape(x.shape), spread.reshape(x.shape)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(
    "N, C, H, W, groups",
    [(1, 1, 1, 1, 1), (2, 8, 3, 5, 4), (1, 32, 9, 8, 32), (2, 96, 8, 9, 32), (1, 33, 13, 10, 3)],
)
@pytest.mark.parametrize("offset", [0, 300])
def test_matches_definition(rng, isa, N, C, H, W, groups, offset):
    x = (rng.normal(size=(N, C, H, W)) * 3 + offset).astype(np.float32)
    weight, bias = rng.normal(size=(2, C)).astype(np.float32)
    got = ops.group_norm(x, weight, bias, groups, 1e-5, isa=isa)
    normal, away = definition(x, groups, 1e-5)
    w, b = weight[:, None, None], bias[:, None, None]
    expected = normal * w + b
    # The means of a block are within 65 roundings of its largest value, which is near the mean or
    # `away` deviations from zero; double does the rest. The variance suffers by the block's 66
    # roundings and by the mean's square; what is taken off is rounded once more.
    largest = np.abs(normal).max() + away
    bound = EPS32 * np.abs(w) * (40 * np.abs(normal) + 35 * largest) + EPS32 * np.abs(expected)
    assert (np.abs(got - expected) <= bound + 1e-30).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("activation", ["silu", "relu", "gelu"])
def test_shift_and_activation(rng, isa, activation):
    x = rng.normal(size=(2, 24, 5, 6)).astype(np.float32)
    shift = rng.normal(size=(2, 24)).astype(np.float32)
    weight, bias = rng.normal(size=(2, 24)).astype(np.float32)
    got = ops.group_norm(x, weight, bias, 6, shift=shift, activation=activation, isa=isa)
    moved = x.astype(np.float64) + shift[:, :, None, None]
    normal, _ = definition(moved, 6, 1e-5)
    y = normal * weight[:, None, None] + bias[:, None, None]
    from math import erf

    formulas = {
        "silu": lambda y: y / (1 + np.exp(-y)),
        "relu": lambda y: np.maximum(y, 0),
        "gelu": lambda y: y * (1 + np.vectorize(erf)(y / np.sqrt(2))) / 2,
    }
    expected = formulas[activation](y)
    # As above with everything near 4; the slope of an activation is at most 1.13.
    assert np.abs(got - expected).max() <= 1.13 * EPS32 * 75 * 5 * np.abs(weight).max()


@pytest.mark.parametrize("isa", ISAS)
def test_without_weights(rng, isa):
    x = rng.normal(size=(1, 8, 4, 4)).astype(np.float32)
    ones, zeros = np.ones(8, np.float32), np.zeros(8, np.float32)
    assert (
        ops.group_norm(x, groups=2, isa=isa).tobytes()
        == ops.group_norm(x, ones, zeros, 2, isa=isa).tobytes()
    )


@pytest.mark.parametrize("isa", ISAS)
def test_same_bits_for_any_threads_and_batch(rng, isa):
    x = rng.normal(size=(3, 40, 11, 9)).astype(np.float32)
    weight, bias = rng.normal(size=(2, 40)).astype(np.float32)
    whole = ops.group_norm(x, weight, bias, 8, isa=isa, threads=1)
    for threads in (2, 3):
        again = ops.group_norm(x, weight, bias, 8, isa=isa, threads=threads)
        assert whole.tobytes() == again.tobytes()
    for n in range(3):
        alone = ops.group_norm(x[n : n + 1], weight, bias, 8, isa=isa)
        assert whole[n].tobytes() == alone[0].tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x = rng.normal(size=(2, 72, 9, 9)).astype(np.float32)
    a, b = (ops.group_norm(x, groups=9, activation="silu", isa=i) for i in ("avx2", "avx512"))
    assert a.tobytes() == b.tobytes()


def test_wrong_shapes_are_refused():
    x = np.ones((1, 6, 2, 2), np.float32)
    with pytest.raises(ValueError, match="groups=4"):
        ops.group_norm(x, groups=4)
    with pytest.raises(ValueError, match="weight has shape"):
        ops.group_norm(x, np.ones(5, np.float32), groups=2)
    with pytest.raises(ValueError, match="shift has shape"):
        ops.group_norm(x, groups=2, shift=np.ones((1, 5), np.float32))
