"""What settings of one request say together: contradictions, each a ValueError that names both."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from genfast import beams, guidance
from genfast.grammar import KEYWORDS

if TYPE_CHECKING:
    from genfast.sampling import Sampling

# What Mirostat takes the place of, and the values that ask for nothing.
FILTERS = {
    "top_n_sigma": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "xtc_probability": 0.0,
}


def check_together(s: Sampling, vocab_size: int | None) -> None:
    guides = [name for name in KEYWORDS if getattr(s, name) is not None]
    if len(guides) > 1:
        raise ValueError(f"{guides[0]} and {guides[1]} exclude each other: give one of them")
    if s.min_tokens > s.max_tokens:
        raise ValueError(f"min_tokens={s.min_tokens} is more than max_tokens={s.max_tokens}")
    if vocab_size is not None:
        _check_ids(s, vocab_size)
    for name in ("mirostat_tau", "xtc_probability"):
        if getattr(s, name) and s.greedy:
            raise ValueError(
                f"{name}={getattr(s, name)} needs draws, and temperature=0 is greedy; "
                "give a temperature above 0"
            )
    if s.mirostat_tau:
        for name, neutral in FILTERS.items():
            if getattr(s, name) != neutral:
                raise ValueError(
                    f"mirostat_tau={s.mirostat_tau} decides itself what may be drawn, and so does "
                    f"{name}={getattr(s, name)}; give one of them"
                )
    _check_forced(s)
    beams.check_together(s)
    guidance.check_together(s)


def _check_ids(s: Sampling, vocab_size: int) -> None:
    named: dict[str, Iterable[int]] = {
        "logit_bias": s.logit_bias,
        "stop_token_ids": s.stop_token_ids,
        "suppress_tokens": s.suppress_tokens,
        "begin_suppress_tokens": s.begin_suppress_tokens,
        "bad_words_ids": (token for word in s.bad_words_ids for token in word),
        "forced_tokens": (token for _, token in s.forced_tokens),
        "forced_bos_token_id": () if s.forced_bos_token_id is None else (s.forced_bos_token_id,),
        "forced_eos_token_id": s.forced_eos_token_id,
        "required": (token for p in s.required if not isinstance(p, str) for token in p),
    }
    for name, ids in named.items():
        for token in ids:
            if token >= vocab_size:
                raise ValueError(
                    f"{name} names token {token}; allowed: ids from 0 to {vocab_size - 1}"
                )


def _check_forced(s: Sampling) -> None:
    for place, token in s.forced_tokens:
        if place >= s.max_tokens:
            raise ValueError(
                f"forced_tokens names place {place}, and max_tokens={s.max_tokens} ends before it"
            )
        if token in s.suppress_tokens:
            raise ValueError(f"forced_tokens and suppress_tokens both name token {token}")
        if place == 0 and token in s.begin_suppress_tokens:
            raise ValueError(
                f"forced_tokens begins with token {token}, which begin_suppress_tokens names"
            )
        if place == s.max_tokens - 1 and s.forced_eos_token_id not in ((), (token,)):
            raise ValueError(
                f"forced_tokens puts {token} at place {place}, the last of max_tokens="
                f"{s.max_tokens}, where forced_eos_token_id={list(s.forced_eos_token_id)} must be"
            )
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        ids = getattr(s, name)
        ids = {ids} if isinstance(ids, int) else set(ids or ())
        if ids and ids <= set(s.suppress_tokens):
            raise ValueError(f"{name} and suppress_tokens both name token {min(ids)}")
