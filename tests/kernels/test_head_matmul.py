import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
FORMATS = ["f32", "bf16", "int8", "int4", "fp8"]
EPS32 = float(np.finfo(np.float32).eps)


def operands(rng, T=9, heads=5, N=50, K=36, first=7, spare=3):
    x = rng.normal(size=(T, first + heads * K + spare)).astype(np.float32)
    return x, rng.normal(size=(heads, N, K)).astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
def test_matches_definition(rng, isa):
    x, weights = operands(rng)
    parts = x[:, 7:-3].reshape(len(x), 5, 36).astype(np.float64)
    got = ops.head_matmul(x, weights, first=7, isa=isa).reshape(len(x), 5, 50)
    expected = np.einsum("thk,hnk->thn", parts, weights)
    # A chain of K fma.
    bound = 36 * EPS32 * np.einsum("thk,hnk->thn", np.abs(parts), np.abs(weights))
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("isa", [isa for isa in ISAS if isa != "ref"])
@pytest.mark.parametrize("T", [1, 40])
def test_is_matmul_of_every_head(rng, isa, format, T):
    """The bits are matmul's, whoever does a head, and beside whatever other tokens."""
    x, weights = operands(rng, T=T)
    for threads in (1, 2, 3):
        got = ops.head_matmul(x, weights, first=7, format=format, isa=isa, threads=threads)
        for h, weight in enumerate(weights):
            part = np.ascontiguousarray(x[-1:, 7 + 36 * h : 43 + 36 * h])
            alone = ops.matmul(part, weight, format=format, isa=isa)
            assert got[-1:, 50 * h : 50 * h + 50].tobytes() == alone.tobytes()


def test_wrong_shapes_are_refused(rng):
    x, weights = operands(rng)
    with pytest.raises(ValueError, match="5 heads of 36 from column 11 do not fit"):
        ops.head_matmul(x, weights, first=11)
    with pytest.raises(ValueError, match="every head's weight"):
        ops.head_matmul(x, [*weights[:4], weights[4, :, 1:].copy()])
    with pytest.raises(ValueError, match="no heads"):
        ops.head_matmul(x, [])
