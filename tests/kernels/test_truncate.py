"""truncate against a plain sort in float64, filter by filter and in chains."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


class Oracle:
    """The definition, in float64. `shift` moves every limit by so much, relatively, to where more
    is kept (a positive one) or less."""

    def __init__(self, logits, temperature=1.0, shift=0.0, **settings):
        self.logits = logits.astype(np.float64)
        self.temperature, self.more = float(np.float32(temperature)), 1 + shift
        settings = {k: v if k == "max_bits" else np.float32(v) for k, v in settings.items()}
        order = np.lexsort((np.arange(len(logits)), -self.logits))
        self.ids = order[self.logits[order] > -np.inf]
        for name in ("top_n_sigma", "top_k", "top_p", "min_p", "typical_p", "xtc", "max_bits"):
            value = settings.get("xtc_threshold" if name == "xtc" else name)
            if value is not None:
                self.ids = getattr(self, name)(float(value))

    @property
    def p(self):
        z = self.logits[self.ids] / self.temperature
        weight = np.exp(z - z.max())
        return weight / weight.sum()

    def top_n_sigma(self, n):
        kept = self.logits[self.ids]
        return self.ids[kept >= kept.max() - n * self.more * kept.std()]

    def top_k(self, k):
        return self.ids[: int(k)]

    def top_p(self, share):
        p = self.p
        return self.ids[: max(1, int((np.cumsum(p) - p < share * self.more).sum()))]

    def min_p(self, share):
        p = self.p
        return self.ids[p >= share / self.more * p.max()]

    def typical_p(self, share):
        p = self.p
        off = np.abs(-np.log(np.maximum(p, 1e-300)) + (p * np.log(np.maximum(p, 1e-300))).sum())
        order = np.argsort(off, kind="stable")
        reach = np.cumsum(p[order])
        last = min(int((reach < share * self.more).sum()), len(p) - 1)
        return self.ids[off <= off[order[last]] * self.more]

    def xtc(self, threshold):
        likely = int((self.p >= threshold / self.more).sum())
        return self.ids[likely - 1 :] if likely >= 2 else self.ids

    def max_bits(self, bits):
        least = 2.0**-bits / self.more
        return self.ids[: max(1, int((self.p >= least).sum()))]

    @property
    def log_sum(self):
        z = self.logits[self.ids] / self.temperature
        return z.max() + np.log(np.exp(z - z.max()).sum())


FILTERS = [
    {},
    {"top_n_sigma": 1.0},
    {"top_n_sigma": 3.0},
    {"top_k": 7},
    {"top_k": 1500},
    {"top_p": 0.3},
    {"top_p": 0.95},
    {"min_p": 0.05},
    {"min_p": 1e-4},
    {"typical_p": 0.2},
    {"typical_p": 0.9},
    {"typical_p": 0.999},
    {"xtc_threshold": 0.5},
    {"xtc_threshold": 0.05},
    {"xtc_threshold": 1e-5},
    {"max_bits": 0.1},
    {"max_bits": 5.0},
    {"max_bits": 13.0},
]
CHAINS = [
    {"top_n_sigma": 2.0, "top_k": 30, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.8},
    {"top_k": 50, "typical_p": 0.9, "xtc_threshold": 0.05},
    {"top_p": 0.95, "typical_p": 0.6},
    {"top_n_sigma": 3.0, "typical_p": 0.95, "xtc_threshold": 0.001},
    {"top_k": 3000, "top_p": 0.98, "min_p": 1e-4, "typical_p": 0.9},
    {"top_k": 1, "typical_p": 0.5, "xtc_threshold": 0.1},
]


def rows(rng, V):
    for spread, digits in ((1, 9), (5, 9), (0.05, 9), (1, 1)):  # one digit: many ties
        yield (rng.normal(size=V) * spread).astype(np.float32).round(digits)


def check(logits, isa, settings, temperature=1.0):
    left, kept, log_sum = ops.truncate(logits, temperature=temperature, isa=isa, **settings)
    ids = np.flatnonzero(np.isfinite(left))
    assert len(ids) == kept >= 1
    assert left[ids].tobytes() == logits[ids].tobytes()
    if isa == "ref" or len(logits) <= 1024 or 0 < settings.get("top_k", 0) <= 1024:
        # Doubles in the order of the definition; top_n_sigma's limit is a float.
        shift = EPS32 if "top_n_sigma" in settings else 1e-12
        moves, mass = (0.0, shift, -shift), 0.0
    else:
        # A weight is off by the rounding of z = (logit - max) / temperature, three half ulps of it,
        # and 2 ulp of the exponential; its sums, on average, by that and 20 more for the additions.
        # The limits move by as much, and so may what lies between; twice that, as "on average" is
        # no bound.
        z = (logits - logits.max().astype(np.float64))[np.isfinite(logits)] / temperature
        shift = EPS32 * 4 * (2 * float(-(np.exp(z) * z).sum() / np.exp(z).sum()) + 25)
        moves, mass = (0.0, shift, -shift), shift
    for moved in moves:
        expected = Oracle(logits, temperature, shift=moved, **settings)
        differs = np.setxor1d(ids, expected.ids, assume_unique=True)
        weight = np.exp((logits[differs] - logits.max().astype(np.float64)) / temperature)
        if weight.sum() <= mass * np.exp(expected.log_sum - logits.max() / temperature):
            bound = 4 * (shift + mass) + EPS32 * abs(expected.log_sum)
            assert log_sum == pytest.approx(expected.log_sum, abs=bound)
            return
    # Where several lie within the roundings of a limit, some may be kept and others not.
    least, most = (Oracle(logits, temperature, shift=m, **settings) for m in (-shift, shift))
    differ = f"{settings}: {len(differs)} tokens differ of {len(expected.ids)}"
    assert mass > 0 and np.isin(least.ids, ids).all() and np.isin(ids, most.ids).all(), differ
    bound = 4 * (shift + mass) + EPS32 * abs(expected.log_sum)
    assert least.log_sum - bound <= log_sum <= most.log_sum + bound


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [1, 2, 65, 1000, 20011])
@pytest.mark.parametrize("settings", [*FILTERS, *CHAINS], ids=str)
def test_keeps_what_the_definition_says(rng, isa, V, settings):
    for logits in rows(rng, V):
        check(logits, isa, settings, temperature=float(np.float32(rng.choice([0.6, 1, 1.4]))))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("settings", [*FILTERS, *CHAINS], ids=str)
def test_a_large_vocabulary(rng, isa, settings):
    logits = (rng.normal(size=128256) * float(rng.choice([0.3, 1, 3]))).astype(np.float32)
    logits[rng.integers(len(logits), size=1000)] = -np.inf
    check(logits, isa, settings)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [4, 3000])
def test_equal_logits(isa, V):
    logits = np.full(V, 1.5, np.float32)
    for settings, expected in [
        ({"top_n_sigma": 1.0}, range(V)),
        ({"top_k": 3}, range(3)),
        ({"top_p": 0.5}, range(V // 2)),
        ({"min_p": 1.0}, range(V)),
        ({"typical_p": 0.25}, range(V)),  # all tie with the last
        ({"xtc_threshold": 0.5 / V}, [V - 1]),
        ({"max_bits": 0.5}, [0]),
    ]:
        left, kept, log_sum = ops.truncate(logits, isa=isa, **settings)
        assert np.flatnonzero(np.isfinite(left)).tolist() == list(expected), settings
        assert kept == len(expected)
        assert log_sum == pytest.approx(1.5 + np.log(kept), abs=1e-5)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("V", [4, 3000, 40000])
@pytest.mark.parametrize("settings", [*FILTERS, *CHAINS], ids=str)
def test_values_that_are_no_numbers(isa, V, settings):
    for value in (-np.inf, np.nan):
        left, kept, _ = ops.truncate(np.full(V, value, np.float32), isa=isa, **settings)
        assert kept == 0 and not np.isfinite(left).any() and not np.isnan(left).any()
    logits = np.full(V, np.nan, np.float32)
    logits[: V // 2] = -np.inf
    logits[V - 1] = -3e38
    left, kept, _ = ops.truncate(logits, isa=isa, **settings)
    assert kept == 1 and np.flatnonzero(np.isfinite(left)).tolist() == [V - 1]
    logits[1] = logits[2] = np.inf
    left, kept, _ = ops.truncate(logits, isa=isa, **settings)
    assert kept == 1 and np.flatnonzero(left > -np.inf).tolist() == [1]


@pytest.mark.parametrize("settings", [*FILTERS, *CHAINS], ids=str)
def test_avx2_and_avx512_give_the_same_bits(rng, settings):
    if not {"avx2", "avx512"} <= set(ISAS):
        pytest.skip("needs a CPU with AVX-512")
    for V, spread in ((777, 1), (50000, 2), (128256, 0.3)):
        logits = (rng.normal(size=V) * spread).astype(np.float32)
        a, b = (
            ops.truncate(logits, temperature=0.9, isa=i, **settings) for i in ("avx2", "avx512")
        )
        assert a[0].tobytes() == b[0].tobytes() and a[1:] == b[1:]


def test_wrong_arguments_are_refused():
    logits = np.zeros(4, np.float32)
    for message, settings in [
        ("temperature=0 ", {"temperature": 0}),
        ("top_n_sigma=-1", {"top_n_sigma": -1}),
        ("top_k=-1", {"top_k": -1}),
        ("top_p=0", {"top_p": 0}),
        ("min_p=2", {"min_p": 2}),
        ("typical_p=0", {"typical_p": 0}),
        ("xtc_threshold=0", {"xtc_threshold": 0}),
        ("max_bits=nan", {"max_bits": float("nan")}),
    ]:
        with pytest.raises(ValueError, match=message):
            ops.truncate(logits, **settings)
