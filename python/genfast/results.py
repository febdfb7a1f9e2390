"""What `generate`, `stream` and `score` hand back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genfast.receipt import Receipt
    from genfast.tool_calls import ToolCall

FINISH_REASONS = ("stop", "length", "cancelled", "deadline", "grammar")


def _short(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


@dataclass(frozen=True)
class TokenLogprobs:
    """Natural-log probability of one token, and how sure the model was of its place.

    All of the model's own distribution there (before temperature, penalties and filters).
    logprob: of the token that stands there.
    top: (id, logprob), likeliest first; as many as `logprobs=` asked for.
    entropy: -sum p ln p over the vocabulary, in nats.
    margin: the largest probability less the second.
    """

    token_id: int
    logprob: float
    top: list[tuple[int, float]] = field(default_factory=list)
    entropy: float = float("nan")
    margin: float = float("nan")


@dataclass(frozen=True)
class Usage:
    """What one request took; of several choices, all of them together.

    prompt_tokens: length of the prompt; cached_tokens of them came from the prefix cache.
    completion_tokens: tokens generated, the end token included. draft_tokens were guessed in
        advance (`speculate=`), accepted_tokens of these were right.
    cpu_seconds: processor time of all threads. bytes_moved: weights, keys and values read or
        written. kv_byte_seconds: memory of the KV cache times how long it was held. Requests that
        ran together share these: they add up to the totals in `Model.stats()`.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    cpu_seconds: float = 0.0
    bytes_moved: float = 0.0
    kv_byte_seconds: float = 0.0

    @classmethod
    def total(cls, parts: Sequence[Usage]) -> Usage:
        """Of the choices of one prompt, which is counted once."""
        sums = {
            name: sum(getattr(part, name) for part in parts)
            for name in (f.name for f in fields(cls))
            if name not in ("prompt_tokens", "cached_tokens")
        }
        first = parts[0]
        return cls(prompt_tokens=first.prompt_tokens, cached_tokens=first.cached_tokens, **sums)

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Timings:
    """Wall-clock seconds of one request.

    ttft_s: from the call to the first token. prefill_s: spent on the prompt.
    decode_s: from the first token to the last.
    prefill_tokens, decode_tokens: tokens processed in those times (the first generated token
        belongs to prefill, so decode_tokens is one less than completion_tokens).
    """

    ttft_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    prefill_tokens: int = 0
    decode_tokens: int = 0

    @property
    def prefill_tokens_per_second(self) -> float:
        return self.prefill_tokens / self.prefill_s if self.prefill_s > 0 else 0.0

    @property
    def decode_tokens_per_second(self) -> float:
        return self.decode_tokens / self.decode_s if self.decode_s > 0 else 0.0


class _Receipted:
    """A result that was made by `make_receipt`'s run."""

    make_receipt: Callable[[], Receipt] | None

    @property
    def receipt(self) -> Receipt:
        """What replays this: see `genfast.Receipt`. The first of a model hashes its weights."""
        if self.make_receipt is None:
            raise ValueError("only a finished result of a model has a receipt")
        return self.make_receipt()


@dataclass(frozen=True)
class Generation(_Receipted):
    """One answer to one prompt.

    text: what was generated, without the prompt, the end token and the stop string.
    token_ids: what was generated, an end token included.
    finish_reason: "stop" (end token, stop string, or a grammar that is complete), "length",
        "cancelled", "deadline" or "grammar" (what was asked for cannot be reached any more).
    logprobs: one entry a token of token_ids, or None when not asked for.
    tool_calls: what a chat with tools asks to be called; the text holds the calls as the model
        wrote them. content: the text beside them.
    choices: all n continuations, this being the first; with n=1 this one alone. A prompt thus
        always gives one Generation, whatever n. Of a beam search: the n best, fewer where it found
        fewer.
    score: of a beam search: the sum of log-probabilities over length ** length_penalty.
    """

    text: str
    token_ids: list[int]
    finish_reason: str
    logprobs: list[TokenLogprobs] | None = None
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    others: tuple[Generation, ...] = field(default=(), repr=False)
    make_receipt: Callable[[], Receipt] | None = field(default=None, repr=False, compare=False)
    calibrated: float | None = field(default=None, repr=False)
    abstain_below: float | None = field(default=None, repr=False)
    tool_calls: list[ToolCall] = field(default_factory=list)
    score: float | None = None
    content: str = field(default="", repr=False)

    @property
    def choices(self) -> tuple[Generation, ...]:
        return (self, *self.others)

    @property
    def logprob(self) -> float:
        """Natural-log probability of the whole sequence of tokens under the model."""
        if self.logprobs is None:
            raise ValueError("logprob and probability need logprobs=0 (or more) in generate")
        return math.fsum(token.logprob for token in self.logprobs)

    @property
    def probability(self) -> float:
        """exp(logprob)."""
        return math.exp(self.logprob)

    @property
    def confidence(self) -> float:
        """How likely the answer is right, by the model's calibration."""
        if self.calibrated is None:
            raise ValueError(
                "confidence needs a calibration: fit one with genfast.calibrate(model, labelled), "
                "then set model.calibration or pass calibration= to generate"
            )
        return self.calibrated

    @property
    def abstained(self) -> bool:
        """Whether the confidence is below the abstain_below of the call: better no answer."""
        return self.abstain_below is not None and self.confidence < self.abstain_below

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        more = f", {len(self.choices)} choices" if self.others else ""
        return (
            f"Generation({_short(self.text)}, {len(self.token_ids)} tokens, "
            f"{self.finish_reason!r}{more})"
        )


@dataclass(frozen=True)
class Chunk(_Receipted):
    """A piece of a stream.

    text: text that is now certain; may be empty while a character or stop string is undecided.
    token_ids: tokens that arrived since the last chunk.
    finish_reason: None but in the last chunk of a choice.
    index: which of the n choices.
    content: of the text, what belongs to no tool call.
    usage, timings, tool_calls, receipt: in the last chunk of a choice.
    confidence: there too, with a calibration.
    """

    text: str
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None
    logprobs: list[TokenLogprobs] | None = None
    index: int = 0
    usage: Usage | None = None
    timings: Timings | None = None
    make_receipt: Callable[[], Receipt] | None = field(default=None, repr=False, compare=False)
    confidence: float | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    content: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Score:
    """How likely the model finds a text.

    token_ids: the tokens scored, in order.
    logprobs: natural-log probability of each given those before it; the first has nothing
        before it and is None.
    top: (token, logprob) of the likeliest at each place, best first; empty where none was asked.
    """

    token_ids: list[int]
    logprobs: list[float | None]
    top: list[list[tuple[int, float]]] = field(default_factory=list, repr=False)

    @property
    def total_logprob(self) -> float:
        return sum(x for x in self.logprobs if x is not None)

    @property
    def scored_tokens(self) -> int:
        return sum(x is not None for x in self.logprobs)

    @property
    def perplexity(self) -> float:
        """exp of the mean negative logprob; nan when nothing could be scored."""
        from math import exp, nan

        if not self.scored_tokens:
            return nan
        mean = -self.total_logprob / self.scored_tokens
        return exp(mean) if mean < 709 else float("inf")

    def __repr__(self) -> str:
        return f"Score({len(self.token_ids)} tokens, perplexity {self.perplexity:.4g})"
