"""Beam search, seen from Python: what goes together, and one of the n best as a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from genfast import _core

if TYPE_CHECKING:
    from genfast.sampling import Sampling
    from genfast.tokenizer import Tokenizer

_EARLY_STOPPING = {False: "no", True: "yes", "never": "never"}


def check_together(sampling: Sampling) -> None:
    """ValueError for settings that contradict num_beams or need it, naming both."""
    beams = sampling.num_beams
    neutral = type(sampling)()
    if beams == 1:
        for name in (
            "length_penalty",
            "early_stopping",
            "num_beam_groups",
            "diversity_penalty",
            "required",
        ):
            value = getattr(sampling, name)
            if value != getattr(neutral, name):
                raise ValueError(f"{name}={value!r:.60} needs num_beams above 1, found num_beams=1")
        return
    if sampling.temperature > 0:
        raise ValueError(
            f"temperature={sampling.temperature} and num_beams={beams}: a beam search draws "
            "nothing; use temperature=0, or num_beams=1 with n"
        )
    if sampling.speculate is True:
        raise ValueError(f"speculate=True and num_beams={beams}: only one sequence can speculate")
    if sampling.n > beams:
        raise ValueError(f"n={sampling.n} is more than num_beams={beams}, the most it can return")
    if sampling.stop:
        raise ValueError(
            f"stop={list(sampling.stop)!r:.60} and num_beams={beams}: a beam search looks at "
            "tokens; use stop_token_ids"
        )
    groups = sampling.num_beam_groups
    if beams % groups:
        raise ValueError(f"num_beam_groups={groups} must divide num_beams={beams}")
    if (groups > 1) != (sampling.diversity_penalty > 0):
        raise ValueError(
            f"num_beam_groups={groups} and diversity_penalty={sampling.diversity_penalty}: groups "
            "differ by the penalty, and only groups have one"
        )
    if groups > 1 and sampling.required:
        raise ValueError(
            f"required={list(sampling.required)!r:.60} and num_beam_groups={groups}: phrases are "
            "for one group"
        )


def native(
    sampling: Sampling, tokenizer: Tokenizer | None, stop_ids: Sequence[int]
) -> _core.BeamParams:
    """The settings as the engine takes them."""
    return _core.BeamParams(
        count=sampling.num_beams,
        groups=sampling.num_beam_groups,
        length_penalty=sampling.length_penalty,
        diversity_penalty=sampling.diversity_penalty,
        early_stopping=_EARLY_STOPPING[sampling.early_stopping],
        required=_phrases(sampling, tokenizer, stop_ids),
    )


def _phrases(
    sampling: Sampling, tokenizer: Tokenizer | None, stop_ids: Sequence[int]
) -> list[list[int]]:
    phrases = []
    for phrase in sampling.required:
        ids = list(phrase)
        if isinstance(phrase, str):
            if tokenizer is None:
                raise ValueError(f"required={phrase!r:.60} needs a tokenizer: pass token ids")
            ids = tokenizer.encode(phrase, add_special_tokens=False)
        for token in set(ids) & set(stop_ids):
            raise ValueError(f"required={phrase!r:.60} holds token {token}, which ends the text")
        phrases.append(ids)
    total = sum(map(len, phrases))
    if total > sampling.max_tokens:
        raise ValueError(
            f"required has {total} tokens, more than max_tokens={sampling.max_tokens} allows"
        )
    return phrases
