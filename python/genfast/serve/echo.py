"""What `echo` asks for: choices that begin with their prompt, and what the model thinks of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from genfast.results import TokenLogprobs
from genfast.serve.errors import from_library
from genfast.serve.service import Service


class Beginning(NamedTuple):
    """Of the choices of one prompt. logprobs: one a token of it, when they were asked for."""

    text: str = ""
    logprobs: Sequence[TokenLogprobs] = ()


async def echoed(
    service: Service, prompts: Sequence[Any], top: int | None, fields: frozenset[str]
) -> list[Beginning]:
    """top: so many of the likeliest tokens at each place of the prompt; None: no logprobs."""
    tokenizer = service.model.tokenizer
    beginnings = []
    for prompt in prompts:
        is_text = isinstance(prompt, str) or tokenizer is None
        text = prompt if is_text else tokenizer.decode(prompt)
        told: Sequence[TokenLogprobs] = ()
        if top is not None:
            try:
                told = await asyncio.to_thread(_scored, service.model, prompt, top)
            except Exception as error:
                raise from_library(error, fields, {"text": "prompt"}) or error from error
        beginnings.append(Beginning(text, told))
    return beginnings


def _scored(model: Any, prompt: Any, top: int) -> list[TokenLogprobs]:
    score = model.score(prompt, top=top)
    return [
        # Before the first there is nothing: it has no probability.
        TokenLogprobs(token, math.nan if logprob is None else logprob, likeliest)
        for token, logprob, likeliest in zip(
            score.token_ids, score.logprobs, score.top, strict=True
        )
    ]
