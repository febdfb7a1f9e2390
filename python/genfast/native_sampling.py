"""A request's `Sampling` as the engine takes it: rules turned into token ids and places."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from genfast import _core
from genfast.sampling import Sampling
from genfast.tokenizer import Tokenizer

# The fields that the engine knows by the same name.
_SAME = (
    "temperature",
    "top_n_sigma",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "xtc_probability",
    "xtc_threshold",
    "mirostat_tau",
    "mirostat_eta",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "no_repeat_ngram_size",
    "min_tokens",
)


def native_sampling(
    sampling: Sampling,
    *,
    seed: int,
    stream: int,
    stop_ids: Sequence[int],
    prompt_tokens: int,
    tokenizer: Tokenizer | None,
) -> _core.SamplingParams:
    forced = list(sampling.forced_tokens)
    begin = 0  # where begin_suppress_tokens counts
    if sampling.forced_bos_token_id is not None and prompt_tokens == 1:
        forced.append((0, sampling.forced_bos_token_id))
        begin = 1
    forced += [(sampling.max_tokens - 1, token) for token in sampling.forced_eos_token_id]
    breakers: list[int] = []
    if sampling.dry_multiplier:
        breakers = breaker_ids(sampling.dry_sequence_breakers, tokenizer)
    ends = set(stop_ids)
    return _core.SamplingParams(
        **{name: getattr(sampling, name) for name in _SAME},
        logit_bias=list(sampling.logit_bias.items()),
        dry_breakers=breakers,
        bad_words=[word for word in sampling.bad_words_ids if len(word) > 1 or word[0] not in ends],
        forced=forced,
        suppress=sampling.suppress_tokens,
        suppress_at=[(begin, token) for token in sampling.begin_suppress_tokens],
        stop_ids=list(stop_ids),
        seed=seed,
        stream=stream,
        logprobs=_logprobs(sampling),
    )


def _logprobs(sampling: Sampling) -> int:
    """How many of the likeliest tokens are told at each place; -1 tells nothing."""
    if sampling.logprobs is not None:
        return sampling.logprobs
    return -1 if sampling.calibration is None else 0


def breaker_ids(breakers: Sequence[str | int], tokenizer: Tokenizer | None) -> list[int]:
    """The tokens that hold a breaker; without a tokenizer those given as ids alone."""
    ids = {item for item in breakers if isinstance(item, int)}
    if tokenizer is not None:
        texts = _texts_of(tokenizer)
        for breaker in (item for item in breakers if isinstance(item, str)):
            ids.update(token for token, text in enumerate(texts) if breaker in text)
    return sorted(ids)


_texts: WeakKeyDictionary[Tokenizer, list[str]] = WeakKeyDictionary()


def _texts_of(tokenizer: Tokenizer) -> list[str]:
    """The text of every token alone; kept, for a vocabulary takes some 0.1 s."""
    if tokenizer not in _texts:
        ids = range(tokenizer.vocab_size)
        _texts[tokenizer] = [tokenizer.decode([token], False) for token in ids]
    return _texts[tokenizer]
