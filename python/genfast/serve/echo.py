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


class Echo:
    """Reads prompts; one is scored at a time, so that other work has its threads."""

    def __init__(self, service: Service, fields: frozenset[str]) -> None:
        self._model, self._fields = service.model, fields
        self._turn = asyncio.Lock()

    async def beginning(self, prompt: Any, top: int | None) -> Beginning:
        """top: so many of the likeliest tokens at each place of the prompt; None: no logprobs."""
        tokenizer = self._model.tokenizer
        is_text = isinstance(prompt, str) or tokenizer is None
        try:
            text = prompt if is_text else tokenizer.decode(prompt)
            if top is None:
                return Beginning(text)
            async with self._turn:
                told = await asyncio.to_thread(_scored, self._model, prompt, top)
        except Exception as error:
            names = {"text": "prompt", "ids": "prompt"}
            raise from_library(error, self._fields, names) or error from error
        return Beginning(text, told)


def _scored(model: Any, prompt: Any, top: int) -> list[TokenLogprobs]:
    score = model.score(prompt, top=top)
    return [
        # Before the first there is nothing: it has no probability.
        TokenLogprobs(token, math.nan if logprob is None else logprob, likeliest)
        for token, logprob, likeliest in zip(
            score.token_ids, score.logprobs, score.top, strict=True
        )
    ]
