import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
FORMATS = ["f32", "bf16", "int8", "int4", "fp8"]


def mixture(rng, T=9, E=64, F=48, experts=5, k=2):
    x, residual = rng.normal(size=(2, T, E)).astype(np.float32)
    weights = [
        (
            (rng.normal(size=(2 * F, E)) / E**0.5).astype(np.float32),
            (rng.normal(size=(E, F)) / F**0.5).astype(np.float32),
        )
        for _ in range(experts)
    ]
    routes = ops.route(rng.normal(size=(T, experts)).astype(np.float32), k)
    return x, residual, weights, routes


@pytest.mark.parametrize("isa", ISAS)
def test_matches_definition(rng, isa):
    x, residual, weights, routes = mixture(rng)
    k = routes.shape[1] // 2
    expected, size = residual.astype(np.float64), np.abs(residual).astype(np.float64)
    for t in range(len(x)):
        for e, weight in zip(routes[t, :k].astype(int), routes[t, k:], strict=True):
            up, down = (w.astype(np.float64) for w in weights[e])
            gate, linear = np.split(up @ x[t], 2)
            hidden = gate / (1 + np.exp(-gate)) * linear
            expected[t] += weight * (down @ hidden)
            size[t] += weight * (np.abs(down) @ np.abs(hidden))
    got = ops.moe(x, routes, weights, residual, isa=isa)
    # Chains of E and of F fmas, the gate's slope at most 1.1: of the terms' magnitudes each.
    assert (np.abs(got - expected) <= (64 + 48 + 20) * EPS32 * (size + np.abs(size).max())).all()


@pytest.mark.parametrize("activation", ["silu", "clamped_silu"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "ref"])
def test_is_matmul_by_matmul(rng, isa, format, biased, activation):
    """The bits are those of each expert's matmuls on each token alone."""
    x, residual, weights, routes = mixture(rng, T=7, E=96, F=70, experts=4, k=3)
    options = {"format": format, "isa": isa}
    up_bias, down_bias = [None] * 4, [None] * 4
    if biased:
        up_bias, down_bias = (rng.normal(size=(4, n)).astype(np.float32) for n in (140, 96))
    got = ops.moe(
        x,
        routes,
        weights,
        residual,
        activation,
        up_bias=up_bias if biased else None,
        down_bias=down_bias if biased else None,
        **options,
    )
    for t in range(len(x)):
        row = residual[t]
        for e, weight in zip(routes[t, :3].astype(int), routes[t, 3:], strict=True):
            up, down = weights[e]
            hidden = ops.matmul(x[t], up, up_bias[e], activation=activation, gated=True, **options)
            y = ops.matmul(hidden, down, down_bias[e], **options)
            # An fma rounds once; double holds the product exactly, and rounding twice is seen in
            # one sum of half a billion.
            row = (np.float64(weight) * y + row).astype(np.float32)
        assert got[t].tobytes() == row.tobytes()


def test_same_bits_for_any_threads_and_batch(rng):
    x, residual, weights, routes = mixture(rng, T=33)
    whole = ops.moe(x, routes, weights, residual, format="int8")
    for threads in (1, 2, 3):
        again = ops.moe(x, routes, weights, residual, format="int8", threads=threads)
        assert again.tobytes() == whole.tobytes()
    for rows in (slice(0, 1), slice(4, 5), slice(2, 20)):
        part = ops.moe(x[rows], routes[rows], weights, residual[rows], format="int8")
        assert part.tobytes() == whole[rows].tobytes()


def test_wrong_shapes_are_refused(rng):
    x, _, weights, routes = mixture(rng)
    with pytest.raises(ValueError, match="gated"):
        ops.moe(x, routes, [(up[:, :-1].copy(), down) for up, down in weights])
    with pytest.raises(ValueError, match=r"up_bias must have shape \[5, 96\]"):
        ops.moe(x, routes, weights, up_bias=np.zeros((5, 95)))
    with pytest.raises(ValueError, match="name expert"):
        ops.moe(x, routes + 9, weights)
