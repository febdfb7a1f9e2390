"""Guided output over a vocabulary of 128k: a mask worked out, beside the forward pass, and a mask
applied, which a token waits for. Floor of applying: what is not allowed, written once in the cache.
"""

import numpy as np
import pytest
from guided_vocabulary import WordTokenizer

from genfast import _core
from genfast.grammar import grammar_of
from genfast.guided import Grammars
from genfast.sampling import Sampling

V = 128256
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
# (keywords, what is there already)
STATES = {
    "within a string": ({"json_schema": SCHEMA}, '{"name": "Ann'),
    "a key": ({"json_schema": SCHEMA}, "{"),
    "a number": ({"json_schema": SCHEMA}, '{"name": "Ann", "age": 1'),
    "any json": ({"json_schema": True}, '{"a": ['),
    "words": ({"regex": "([a-z]+ )*"}, "and so "),
}


@pytest.fixture(scope="module")
def grammars():
    grammars = Grammars(WordTokenizer(V), V)
    yield grammars
    grammars.close()


@pytest.mark.parametrize("state", STATES)
def test_mask(benchmark, grammars, state):
    keywords, text = STATES[state]
    guide = grammars.guide(grammar_of(Sampling.make({}, keywords)), [2])
    vocabulary = grammars._vocabulary
    tokens = vocabulary.greedy_tokenize(text)
    *before, last = tokens
    (matcher,) = guide._matchers
    matcher.consume_tokens(before)

    def step():
        matcher.consume_token(last)
        assert guide._fill(matcher, 0) == "open"
        matcher.rollback(1)

    benchmark(step)
    allowed = np.unpackbits(guide.masks.words(0).view(np.uint8), bitorder="little")[:V]
    ids = np.flatnonzero(allowed)
    check = matcher.deep_copy()
    check.consume_token(last)
    for token in ids[:: max(1, len(ids) // 200)]:
        assert token == 2 or check.validate_tokens([int(token)]) == 1
    benchmark.extra_info["allowed"] = len(ids)


@pytest.mark.parametrize("state", ["within a string", "any json"])
def test_beams(benchmark, grammars, state, count=4):
    """The matchers of four beams that all continue one, and a mask for each."""
    keywords, text = STATES[state]
    guide = grammars.guide(grammar_of(Sampling.make({}, keywords)), [2])
    *before, last = grammars._vocabulary.greedy_tokenize(text)
    guide._matchers[0].consume_tokens(before)
    before = guide._matchers
    beams = [(0, last)] * count
    words = [np.empty_like(guide.masks.words(0)) for _ in range(count)]
    guide._words = words

    def step():
        guide._matchers = [before[0].deep_copy()]
        after = list(guide._branch(beams))
        assert [guide._fill(matcher, row) for row, matcher in enumerate(after)] == ["open"] * count

    benchmark(step)
    assert all(each.tobytes() == words[0].tobytes() for each in words) and words[0].any()


@pytest.mark.parametrize("share", [0.0001, 0.5, 0.95])
def test_apply(benchmark, rng, report, share):
    logits = rng.normal(size=V).astype(np.float32)
    bits = (rng.random(-(-V // 32) * 32) < share).astype(np.uint8)
    words = np.packbits(bits, bitorder="little").view(np.uint32)
    masked = logits.copy()
    benchmark(_core.mask_logits, masked, words)
    assert masked.tobytes() == np.where(bits[:V], logits, -np.inf).astype(np.float32).tobytes()
    report(bytes=logits.nbytes, cached=True, threads=1)
