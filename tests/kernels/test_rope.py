import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def inv_freq(R: int, theta: float = 10000.0) -> np.ndarray:
    return (theta ** (-np.arange(0, R, 2) / R)).astype(np.float32)


def pairs(head: np.ndarray, R: int, interleaved: bool) -> tuple[np.ndarray, np.ndarray]:
    """Views of the first and the second number of every pair of heads [..., D]."""
    if interleaved:
        return head[..., 0:R:2], head[..., 1:R:2]
    return head[..., : R // 2], head[..., R // 2 : R]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("R", [2, 6, 64, 80])
def test_table_matches_definition(rng, isa, R):
    positions = np.concatenate([[0, 1], rng.integers(0, 1 << 20, size=5)]).astype(np.int32)
    table = ops.rope_table(positions, inv_freq(R), 1.25, isa=isa)
    # The angle is rounded to float32 by definition, the rest is done in double: two roundings.
    angles = (positions.astype(np.float32)[:, None] * inv_freq(R)).astype(np.float64)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * 1.25
    assert (np.abs(table - expected) <= EPS32 * np.abs(expected) + 1e-30).all()


@pytest.mark.parametrize("isa", ISAS)
def test_dynamic_frequencies_start_at_their_length(isa):
    R, base, factor, length = 8, 10000.0, 4.0, 16
    positions = np.arange(40, dtype=np.int32)
    table = ops.rope_table(positions, inv_freq(R), dynamic=(base, factor, length), isa=isa)
    plain = ops.rope_table(positions, inv_freq(R), isa=isa)
    assert table[:length].tobytes() == plain[:length].tobytes()
    for p in positions[length:]:
        stretched = base * (factor * (p + 1) / length - (factor - 1)) ** (R / (R - 2))
        angles = p * stretched ** (-np.arange(0, R, 2) / R)
        bound = angles * 2 * EPS32 + EPS32  # frequency and angle are rounded
        assert (np.abs(table[p, : R // 2] - np.cos(angles)) <= bound).all()
        assert (np.abs(table[p, R // 2 :] - np.sin(angles)) <= bound).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize(
    "T, heads, D, R, rest",
    [
        (1, 1, 2, 2, 0),
        (3, 2, 64, 64, 64),
        (2, 3, 80, 32, 7),
        (4, 1, 96, 80, 0),
        (2, 4, 128, 128, 1),
    ],
)
def test_matches_definition(rng, isa, interleaved, T, heads, D, R, rest):
    x = rng.normal(size=(T, heads * D + rest)).astype(np.float32)
    table = ops.rope_table(rng.integers(0, 5000, size=T), inv_freq(R))
    got = ops.rope(x, table, D, heads, interleaved, isa=isa)
    cosine, sine = np.split(table.astype(np.float64)[:, None, :], 2, axis=-1)
    before = x[:, : heads * D].reshape(T, heads, D)
    after = got[:, : heads * D].reshape(T, heads, D)
    u, v = (p.astype(np.float64) for p in pairs(before, R, interleaved))
    first, second = pairs(after, R, interleaved)
    # two products and their sum are rounded
    for value, a, b in ((first, u * cosine, -v * sine), (second, v * cosine, u * sine)):
        assert (np.abs(value - (a + b)) <= EPS32 * (np.abs(a) + np.abs(b))).all()
    assert after[..., R:].tobytes() == before[..., R:].tobytes()
    assert got[:, heads * D :].tobytes() == x[:, heads * D :].tobytes()


@pytest.mark.parametrize("isa", ISAS)
def test_position_zero_changes_nothing(rng, isa):
    x = rng.normal(size=(1, 128)).astype(np.float32)
    table = ops.rope_table([0], inv_freq(64))
    assert ops.rope(x, table, 64, isa=isa).tobytes() == x.tobytes()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("interleaved", [False, True])
def test_same_bits_for_any_threads_and_batch(rng, isa, interleaved):
    x = rng.normal(size=(7, 5 * 48 + 3)).astype(np.float32)
    table = ops.rope_table(np.arange(7), inv_freq(48))
    whole = ops.rope(x, table, 48, 4, interleaved, isa=isa, threads=1)
    for threads in (2, 3):
        again = ops.rope(x, table, 48, 4, interleaved, isa=isa, threads=threads)
        assert whole.tobytes() == again.tobytes()
    for t in range(7):
        alone = ops.rope(x[t : t + 1], table[t : t + 1], 48, 4, interleaved, isa=isa)
        assert whole[t].tobytes() == alone.tobytes()


def test_avx2_and_avx512_give_the_same_bits(rng):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    x = rng.normal(size=(3, 4 * 80)).astype(np.float32)
    table = ops.rope_table([3, 99, 1234], inv_freq(72))
    for interleaved in (False, True):
        a, b = (ops.rope(x, table, 80, 4, interleaved, isa=isa) for isa in ("avx2", "avx512"))
        assert a.tobytes() == b.tobytes()


def test_wrong_arguments_are_refused():
    x, table = np.ones((2, 64), np.float32), np.ones((2, 32), np.float32)
    for message, call in [
        ("table must have 2 rows", lambda: ops.rope(x, table[:1], 64)),
        ("heads=3 of head_dim=32", lambda: ops.rope(x, table, 32, 3)),
        ("heads=0", lambda: ops.rope(x, table, 128)),
        ("head_dim=0", lambda: ops.rope(x, table, 0)),
        ("table's last axis must be even", lambda: ops.rope(x, table, 16, 4)),
        ("table's last axis must be even", lambda: ops.rope(x, table[:, :31], 64)),
        (r"positions\[1\]=-2", lambda: ops.rope_table([0, -2], inv_freq(8))),
        ("dynamic_length=0", lambda: ops.rope_table([0], inv_freq(8), dynamic=(1e4, 2.0, 0))),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
