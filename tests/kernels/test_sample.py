"""sample against a plain sort in float64, and against the distribution it must draw from."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)
TINY = 1e-12


class Oracle:
    """The definition, in float64; `index` of a draw counts from the most probable token."""

    def __init__(self, logits, temperature, top_k=0, top_p=1.0, min_p=0.0):
        logits = logits.astype(np.float64)
        order = np.lexsort((np.arange(len(logits)), -logits))  # largest first, then by id
        order = order[logits[order] > -np.inf]
        self.order = order[: top_k or None]
        self.z = (logits[self.order] - logits[order[0]]) / np.float32(temperature)
        self.weight = np.exp(self.z)
        self.top_p, self.min_p = np.float32(top_p), np.float32(min_p)

    def kept(self, shift: float = 0.0) -> int:
        """How many tokens are left; with the limits moved by a relative `shift` towards more."""
        weight, before = self.weight, np.cumsum(self.weight) - self.weight
        n = len(weight)
        if self.top_p < 1:
            n = int((before < self.top_p * (1 + shift) * weight.sum()).sum())
        return max(1, min(n, int((weight >= self.min_p * (1 - shift)).sum())))

    def index(self, draw: float, shift: float = 0.0) -> int:
        cumulated = np.cumsum(self.weight[: self.kept(shift)])
        place = int(np.searchsorted(cumulated, draw * (1 + shift) * cumulated[-1], side="right"))
        return min(place, len(cumulated) - 1)

    def allows(self, token: int, draw: float) -> bool:
        """Whether rounding can lead to this token.

        A float weight is off by the rounding of (logit - max) / temperature, three half ulps of z,
        and 2 ulp of the exponential; so are its cumulated sums (on average over their terms), with
        20 more for the additions (blocks of 1024 in two times 32 lanes). The draw's place moves
        with the draw and with the number kept, both by that much; there tokens whose weights differ
        by no more may stand in another order.
        """
        mean = float((self.weight * -self.z).sum() / self.weight.sum())
        shift = EPS32 * 2 * (2 * mean + 25)
        low, high = self.index(draw, -shift), self.index(draw, shift)
        blur = EPS32 * 2 * (2 * -self.z[high] + 5)
        place = int(np.flatnonzero(self.order == token)[0]) if token in self.order else -1
        return place >= 0 and self.z[high] - blur <= self.z[place] <= self.z[low] + blur


def logits_like(rng, V: int, spread: float) -> np.ndarray:
    return (rng.normal(size=V) * spread).astype(np.float32)


SETTINGS = [
    {},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 50, "top_p": 0.9, "min_p": 0.02},
    {"top_k": 1500},
    {"top_k": 2000, "top_p": 0.7},
    {"top_p": 0.1},
    {"top_p": 0.5},
    {"top_p": 0.95},
    {"top_p": 0.9999},
    {"min_p": 0.05},
    {"min_p": 1e-6},
    {"min_p": 1.0},
    {"top_p": 0.8, "min_p": 0.3},
    {"top_p": 0.6, "min_p": 0.001},
]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [1, 2, 65, 1000, 20011])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_draws_as_the_definition_says(rng, isa, V, settings):
    for spread, temperature, digits in ((1, 1.0, 9), (6, 0.7, 9), (0.05, 1.0, 9), (1, 1.1, 1)):
        logits = logits_like(rng, V, spread).round(digits)  # one digit: many ties
        oracle = Oracle(logits, temperature, **settings)
        for draw in (0.0, *rng.random(3), 1 - 2.0**-53):
            token = ops.sample(logits, temperature=temperature, draw=draw, isa=isa, **settings)
            assert oracle.allows(token, draw), (spread, temperature, draw, token)
            if isa == "ref" or 0 < settings.get("top_k", 0) <= 1024:
                # Doubles in the order of the definition: nothing but a sum's last bits may differ.
                near = {oracle.index(draw, s) for s in (-TINY, 0, TINY)}
                assert token in oracle.order[sorted(near)]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("spread", [0.01, 0.5, 3])
def test_a_large_vocabulary(rng, isa, spread):
    V = 128256
    logits = logits_like(rng, V, spread)
    logits[rng.integers(V, size=1000)] = -np.inf
    for settings in (
        {},
        {"top_p": 0.9},
        {"top_p": 0.99},
        {"top_k": 50, "top_p": 0.95, "min_p": 0.01},
        {"top_k": 5000},
        {"top_k": 20000, "top_p": 0.95},
        {"top_k": 127500, "top_p": 0.3},
    ):
        oracle = Oracle(logits, 1.0, **settings)
        for draw in rng.random(3):
            token = ops.sample(logits, temperature=1.0, draw=draw, isa=isa, **settings)
            assert oracle.allows(token, draw)


@pytest.mark.parametrize("isa", ISAS)
def test_greedy(rng, isa):
    for V in (1, 15, 16, 64, 1023, 1024, 1025, 70001):
        logits = logits_like(rng, V, 1)
        for at in {0, V - 1, int(rng.integers(V))}:
            logits[at] = 100
            assert ops.sample(logits, isa=isa) == np.argmax(logits)
        logits[rng.integers(V, size=3)] = 200  # ties go to the lower id
        assert ops.sample(logits, isa=isa) == np.argmax(logits)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_every_kept_token_has_its_share_of_the_draws(isa, settings):
    # Probabilities of sixteenths, ids shuffled: steps of 1/64 fall where no rounding matters.
    shares = np.array([6, 4, 2, 2, 1, 1])
    ids = np.array([40, 3, 17, 90, 64, 5])
    logits = np.full(100, -np.inf, np.float32)
    logits[ids] = np.log(shares / 16)
    ids[2:4] = ids[3:1:-1] if ids[2] > ids[3] else ids[2:4]
    ids[4:] = sorted(ids[4:])
    n = min(settings.get("top_k", 0) or 6, 6)
    before = np.cumsum(shares[:n]) - shares[:n]
    n = int((before < settings.get("top_p", 1.0) * shares[:n].sum()).sum())
    n = max(1, min(n, int((shares >= 6 * settings.get("min_p", 0.0)).sum())))
    total = shares[:n].sum()
    draws = (np.arange(4 * total) + 0.5) / (4 * total)
    got = [ops.sample(logits, temperature=1.0, draw=d, isa=isa, **settings) for d in draws]
    assert got == list(np.repeat(ids[:n], 4 * shares[:n]))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [5, 100, 3000, 128256])
def test_equal_logits_are_told_apart_by_id(isa, V):
    logits = np.full(V, 2.5, np.float32)
    for settings, kept in [
        ({}, V),
        ({"top_k": 3}, 3),
        ({"top_k": 1}, 1),
        ({"top_k": 2000}, min(V, 2000)),
        ({"min_p": 1.0}, V),
        ({"top_k": 4, "min_p": 0.5}, 4),
    ]:
        for place in {0, kept // 2, kept - 1}:
            draw = (place + 0.5) / kept
            token = ops.sample(logits, temperature=0.5, draw=draw, isa=isa, **settings)
            assert token == place
    half = ops.sample(logits, temperature=1.0, top_p=0.5, draw=1 - 2.0**-53, isa=isa)
    assert half == (V + 1) // 2 - 1  # half of the tokens, and the one that completes it


@pytest.mark.parametrize("isa", ISAS)
def test_top_k_1_is_greedy(rng, isa):
    logits = logits_like(rng, 3000, 1).round(1)  # many ties
    expected = int(np.argmax(logits))
    for draw in rng.random(5):
        assert ops.sample(logits, temperature=2.0, top_k=1, draw=draw, isa=isa) == expected
        assert ops.sample(logits, temperature=1e-6, draw=draw, isa=isa) in np.flatnonzero(
            logits == logits.max()
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [3, 100, 40000])
@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, *({"temperature": 1.0, **s} for s in SETTINGS)], ids=str
)
def test_values_that_are_no_numbers(rng, isa, V, settings):
    draw = float(rng.random())
    logits = np.full(V, -np.inf, np.float32)
    assert ops.sample(logits, draw=draw, isa=isa, **settings) == -1
    logits[:] = np.nan
    assert ops.sample(logits, draw=draw, isa=isa, **settings) == -1
    logits[: V // 2] = -np.inf
    logits[V - 1] = -3e38
    assert ops.sample(logits, draw=draw, isa=isa, **settings) == V - 1
    logits[0] = 3e38
    assert ops.sample(logits, draw=draw, isa=isa, **settings) == 0
    logits[V // 2] = np.inf
    assert ops.sample(logits, draw=draw, isa=isa, **settings) == V // 2
    finite = logits_like(rng, V, 1)
    finite[rng.random(V) < 0.5] = np.nan
    finite[rng.random(V) < 0.2] = -np.inf
    finite[0] = 0.0
    token = ops.sample(finite, draw=draw, isa=isa, **settings)
    assert np.isfinite(finite[token])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-3, 1e6, 3e38])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_extreme_temperatures(rng, isa, temperature, settings):
    logits = logits_like(rng, 5000, 3)
    token = ops.sample(
        logits, temperature=temperature, draw=float(rng.random()), isa=isa, **settings
    )
    order = np.argsort(-logits, kind="stable")
    place = int(np.flatnonzero(order == token)[0])
    if temperature <= 1e-30:
        assert place == 0
    assert place < (settings.get("top_k", 0) or 5000)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_avx2_and_avx512_draw_the_same(rng, settings):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    for V, spread in ((777, 1), (50000, 2), (128256, 0.3)):
        logits = logits_like(rng, V, spread)
        for draw in rng.random(4):
            a, b = (
                ops.sample(logits, temperature=0.9, draw=draw, isa=isa, **settings)
                for isa in ("avx2", "avx512")
            )
            assert a == b


@pytest.mark.parametrize("isa", ISAS)
def test_same_token_for_any_threads(rng, isa):
    logits = logits_like(rng, 9000, 1)
    for settings in SETTINGS:
        draw = float(rng.random())
        tokens = {
            ops.sample(logits, temperature=1.0, draw=draw, isa=isa, threads=n, **settings)
            for n in (1, 2, 3)
        }
        assert len(tokens) == 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("settings", [{}, {"top_k": 20}, {"top_p": 0.8}, {"min_p": 0.1}], ids=str)
def test_frequencies_follow_the_distribution(rng, isa, settings):
    logits = logits_like(rng, 300, 1.5)
    oracle = Oracle(logits, 0.8, **settings)
    weight = oracle.weight[: oracle.kept()]
    count = 4000
    drawn = [
        ops.sample(logits, temperature=0.8, draw=d, isa=isa, **settings) for d in rng.random(count)
    ]
    assert set(drawn) <= set(oracle.order[: len(weight)])
    expected = weight / weight.sum() * count
    observed = np.array([drawn.count(i) for i in oracle.order[: len(weight)]])
    common = expected >= 5  # the rest is counted together
    expected = np.append(expected[common], expected[~common].sum())
    observed = np.append(observed[common], observed[~common].sum())
    if expected[-1] < 5:
        expected[-2:], observed[-2:] = expected[-2:].sum() / 2, observed[-2:].sum() / 2
    chi2 = ((observed - expected) ** 2 / expected).sum()
    # Wilson and Hilferty: exceeded with probability 1e-6 (4.753 standard deviations)
    k = len(expected) - 1
    assert chi2 < k * (1 - 2 / (9 * k) + 4.753 * np.sqrt(2 / (9 * k))) ** 3


def test_wrong_arguments_are_refused():
    logits = np.zeros(4, np.float32)
    for message, call in [
        ("logits must have shape", lambda: ops.sample(np.zeros((2, 4), np.float32))),
        ("logits must have shape", lambda: ops.sample(np.zeros(0, np.float32))),
        ("temperature=-1 ", lambda: ops.sample(logits, temperature=-1)),
        ("temperature=inf", lambda: ops.sample(logits, temperature=float("inf"))),
        ("temperature=nan", lambda: ops.sample(logits, temperature=float("nan"))),
        ("top_k=-1 ", lambda: ops.sample(logits, top_k=-1)),
        ("top_p=0 ", lambda: ops.sample(logits, top_p=0)),
        ("top_p=1.5 ", lambda: ops.sample(logits, top_p=1.5)),
        ("min_p=2 ", lambda: ops.sample(logits, min_p=2)),
        ("draw=1 ", lambda: ops.sample(logits, draw=1)),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
