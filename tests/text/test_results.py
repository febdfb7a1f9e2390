"""What comes back: sums, rates and reprs."""

from __future__ import annotations

import dataclasses
import math

import pytest

from genfast.results import Chunk, Generation, Score, Timings, TokenLogprobs, Usage


def test_usage_and_timings():
    assert Usage(7, 3, 5).total_tokens == 12
    times = Timings(ttft_s=0.5, prefill_s=0.25, decode_s=2.0, prefill_tokens=50, decode_tokens=30)
    assert times.prefill_tokens_per_second == 200.0
    assert times.decode_tokens_per_second == 15.0
    assert Timings().decode_tokens_per_second == 0.0


def test_choices_hold_all_continuations():
    one = Generation("a", [1], "stop")
    assert one.choices == (one,)
    two = Generation("b", [2], "length")
    both = dataclasses.replace(one, others=(two,))
    assert both.choices == (both, two)
    assert "2 choices" in repr(both)


def test_reprs_are_short():
    out = Generation("word " * 1000, list(range(1000)), "length")
    assert len(repr(out)) < 130 and "1000 tokens" in repr(out) and "'length'" in repr(out)
    assert str(out) == out.text
    assert str(Chunk("hi")) == "hi"


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Generation("a", [1], "stop").text = "b"


def test_perplexity():
    score = Score([5, 6, 7], [None, math.log(0.5), math.log(0.125)])
    assert score.scored_tokens == 2
    assert score.perplexity == pytest.approx(4.0)
    assert score.total_logprob == pytest.approx(math.log(1 / 16))
    assert math.isnan(Score([5], [None]).perplexity)
    assert Score([5, 6], [None, -math.inf]).perplexity == math.inf
    assert "perplexity 4" in repr(score)


def test_token_logprobs_default_to_no_alternatives():
    assert TokenLogprobs(3, -0.5).top == []
