import numpy as np
import pytest

import genfast
from genfast import ops

EPS32 = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("isa", genfast.cpu_info()["isas"])
@pytest.mark.parametrize("T, E", [(1, 1), (3, 15), (2, 16), (5, 63), (4, 64), (7, 577), (1, 2048)])
def test_matches_definition(rng, isa, T, E):
    x = rng.normal(size=(T, E)).astype(np.float32) * 3
    weight = rng.normal(size=E).astype(np.float32)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-5) * weight
    got = ops.rms_norm(x, weight, 1e-5, isa=isa)
    # The sum of E squares has positive terms: relative error <= E eps, halved by the root; then
    # a few roundings more.
    bound = (E / 2 + 4) * EPS32 * np.abs(expected) + 1e-30
    assert (np.abs(got - expected) <= bound).all()


@pytest.mark.parametrize("isa", genfast.cpu_info()["isas"])
def test_same_bits_for_any_threads_and_batch(rng, isa):
    x = rng.normal(size=(7, 100)).astype(np.float32)
    weight = rng.normal(size=100).astype(np.float32)
    whole = ops.rms_norm(x, weight, isa=isa, threads=1)
    for threads in (2, 3):
        assert whole.tobytes() == ops.rms_norm(x, weight, isa=isa, threads=threads).tobytes()
    for t in range(7):
        assert whole[t].tobytes() == ops.rms_norm(x[t], weight, isa=isa).tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(genfast.cpu_info()["isas"]):
        pytest.skip("needs a CPU with AVX-512")
    x = rng.normal(size=(3, 333)).astype(np.float32)
    weight = rng.normal(size=333).astype(np.float32)
    assert (
        ops.rms_norm(x, weight, isa="avx2").tobytes()
        == ops.rms_norm(x, weight, isa="avx512").tobytes()
    )


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="weight must have shape"):
        ops.rms_norm(np.ones((2, 8), np.float32), np.ones(9, np.float32))


@pytest.mark.parametrize("isa", genfast.cpu_info()["isas"])
@pytest.mark.parametrize("norm", [ops.rms_norm, ops.layer_norm])
def test_groups_are_normed_each_by_itself_and_the_rest_is_copied(rng, isa, norm):
    x = rng.normal(size=(3, 5 * 24 + 7)).astype(np.float32)
    weight = rng.normal(size=5 * 24).astype(np.float32)
    got = norm(x, weight, groups=5, isa=isa)
    for g in range(0, 120, 24):
        alone = norm(np.ascontiguousarray(x[:, g : g + 24]), weight[g : g + 24], isa=isa)
        assert got[:, g : g + 24].tobytes() == alone.tobytes()
    assert got[:, 120:].tobytes() == x[:, 120:].tobytes()
