import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]
EPS32 = float(np.finfo(np.float32).eps)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def oracle(logits, k, scoring, bias, renormalise, scale, groups, kept):
    """One token's experts and weights, in plain float64."""
    if scoring == "sigmoid":
        score = 1 / (1 + np.exp(-logits))
        merit = score
    else:
        score = softmax(logits)
        merit = logits if scoring == "softmax_of_chosen" else score
    merit = merit + (0 if bias is None else bias)
    if groups > 1:
        by_group = np.sort(merit.reshape(groups, -1))[:, ::-1]
        worth = by_group[:, 0] if bias is None else by_group[:, :2].sum(1)
        dropped = np.argsort(-worth, kind="stable")[kept:]
        merit = merit.copy().reshape(groups, -1)
        merit[dropped] = -np.inf
        merit = merit.reshape(-1)
    chosen = np.sort(np.argsort(-merit, kind="stable")[:k])
    weight = softmax(logits[chosen]) if scoring == "softmax_of_chosen" else score[chosen]
    if renormalise:
        weight = weight / weight.sum()
    return chosen, weight * scale


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("scoring", ["softmax", "softmax_of_chosen", "sigmoid"])
@pytest.mark.parametrize(
    ("experts", "k", "groups", "kept"), [(1, 1, 1, 1), (5, 5, 1, 1), (60, 4, 1, 1), (64, 6, 8, 3)]
)
@pytest.mark.parametrize("with_bias", [False, True])
def test_matches_definition(rng, isa, scoring, experts, k, groups, kept, with_bias):
    logits = (rng.normal(size=(9, experts)) * 2).astype(np.float32)
    bias = rng.normal(size=experts).astype(np.float32) * 0.1 if with_bias else None
    renormalise, scale = bool(rng.integers(2)), 1.7
    got = ops.route(
        logits,
        k,
        scoring,
        bias,
        renormalise=renormalise,
        scale=scale,
        groups=groups,
        kept_groups=kept,
        isa=isa,
    )
    for t in range(len(logits)):
        wide = logits[t].astype(np.float64)
        chosen, weight = oracle(wide, k, scoring, bias, renormalise, scale, groups, kept)
        assert got[t, :k].tolist() == chosen.tolist()
        # exp is off by a few roundings, a sum of X terms by at most X; then a division, products.
        assert (np.abs(got[t, k:] - weight) <= (experts + 12) * EPS32 * weight).all()


@pytest.mark.parametrize("isa", ISAS)
def test_of_equals_the_first_is_chosen(isa):
    got = ops.route(np.zeros((2, 7), np.float32), 3, isa=isa)
    assert got[:, :3].tolist() == [[0, 1, 2]] * 2
    assert (got[:, 3:] == np.float32(1 / 7)).all()


def test_same_bits_for_any_threads_and_batch(rng):
    logits = rng.normal(size=(11, 33)).astype(np.float32)
    whole = ops.route(logits, 4)
    for threads in (1, 2, 3):
        assert ops.route(logits, 4, threads=threads).tobytes() == whole.tobytes()
    for t in range(11):
        assert ops.route(logits[t : t + 1], 4)[0].tobytes() == whole[t].tobytes()


def test_sizes_that_do_not_fit_are_refused():
    logits = np.zeros((1, 8), np.float32)
    with pytest.raises(ValueError, match="k=9"):
        ops.route(logits, 9)
    with pytest.raises(ValueError, match="groups=3"):
        ops.route(logits, 1, groups=3)
    with pytest.raises(ValueError, match="must leave k=5"):
        ops.route(logits, 5, groups=2, kept_groups=1)
