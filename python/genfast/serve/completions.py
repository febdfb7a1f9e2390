"""`/v1/completions`: text that goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from genfast.infill import infill_prompt
from genfast.results import Chunk, Usage
from genfast.serve.answer import answer
from genfast.serve.echo import Beginning, Echo
from genfast.serve.errors import ApiError
from genfast.serve.keywords import keywords
from genfast.serve.logprobs import Words, completion_logprobs
from genfast.serve.requests import Reader
from genfast.serve.schemas import COMPLETION
from genfast.serve.service import Service, total
from genfast.serve.shapes import finish_of, new_id, usage_of

_MAX_TOKENS = 16  # OpenAI's, where the request says nothing
_NAMES = {"text": "prompt"}


class Completions:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = Reader(COMPLETION, service.settings)
        self._echo = Echo(service, self._reader.fields)

    async def __call__(self, request: Request) -> Response:
        body = await self._reader.read(request)
        job = _Job(self._service, body, self._reader.fields, self._echo)
        return await answer(request, body, job, self._service)


class _Job:
    """One request."""

    def __init__(
        self, service: Service, body: dict[str, Any], fields: frozenset[str], echo: Echo
    ) -> None:
        service.check_model(body)
        self._prompts = _prompts(body["prompt"])
        self._n = body.get("n", 1)
        if body.get("best_of", self._n) != self._n:
            raise ApiError(400, f"best_of is {body['best_of']}; expected n ({self._n})", "best_of")
        service.check_choices("prompt" if self._n == 1 else "n", len(self._prompts) * self._n)
        options = keywords(body, service)
        options["max_tokens"] = body.get("max_tokens", _MAX_TOKENS)
        self._echo = echo if body.get("echo") else None
        self._logprobs = body.get("logprobs")
        if self._logprobs is not None:
            if service.model.tokenizer is None:
                raise ApiError(400, "logprobs needs a tokenizer; this model has none", "logprobs")
            options["logprobs"] = self._logprobs
            self._words = Words(service.model.tokenizer)
        prompts = self._prompts
        if body.get("suffix"):
            if self._echo:
                raise ApiError(400, "suffix and echo exclude each other", "suffix")
            prompts, ends = _infills(service, prompts, body["suffix"])
            options["stop_token_ids"] = [*options.get("stop_token_ids", ()), *ends]
        self._service = service
        self._streams = [service.model.astream(prompt, **options) for prompt in prompts]
        self._fields = fields
        self._offsets: dict[int, int] = {}
        self._head = {
            "id": new_id("cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.settings.name,
        }

    async def _chunks(self) -> AsyncIterator[tuple[int, Chunk]]:
        """(place of the choice in the response, chunk)."""
        async for prompt, chunk in self._service.chunks(self._streams, self._fields, _NAMES):
            yield prompt * self._n + chunk.index, chunk

    async def events(self, with_usage: bool) -> AsyncIterator[dict[str, Any]]:
        usages: list[list[Usage]] = [[] for _ in self._prompts]
        begins = dict(enumerate(await self._beginnings()))  # of those that have not begun
        async for index, chunk in self._chunks():
            begin = begins.pop(index, Beginning())
            reason = chunk.finish_reason
            choice = {
                "index": index,
                "text": begin.text + chunk.text,
                "logprobs": self._told(index, begin, chunk.logprobs),
                **(finish_of(reason) if reason else {"finish_reason": None}),
            }
            if chunk.usage is not None:
                usages[index // self._n].append(chunk.usage)
            yield {**self._head, "choices": [choice], **({"usage": None} if with_usage else {})}
        if with_usage:
            yield {**self._head, "choices": [], "usage": usage_of(total(usages))}

    async def whole(self) -> dict[str, Any]:
        usages: list[list[Usage]] = [[] for _ in self._prompts]
        begins = await self._beginnings()
        texts = [[begin.text] for begin in begins]
        told: list[list[Any]] = [[] for _ in begins]
        reasons = ["length"] * len(begins)
        async for index, chunk in self._chunks():
            texts[index].append(chunk.text)
            told[index] += chunk.logprobs or []
            reasons[index] = chunk.finish_reason or reasons[index]
            if chunk.usage is not None:
                usages[index // self._n].append(chunk.usage)
        choices = [
            {
                "index": index,
                "text": "".join(texts[index]),
                "logprobs": self._told(index, begin, told[index]),
                **finish_of(reasons[index]),
            }
            for index, begin in enumerate(begins)
        ]
        return {**self._head, "choices": choices, "usage": usage_of(total(usages))}

    async def _beginnings(self) -> list[Beginning]:
        """Of every choice."""
        if self._echo is None:
            return [Beginning()] * len(self._prompts) * self._n
        each = [await self._echo.beginning(p, self._logprobs) for p in self._prompts]
        return [begin for begin in each for _ in range(self._n)]

    def _told(self, index: int, begin: Beginning, told: Any) -> dict[str, Any] | None:
        if self._logprobs is None:
            return None
        content = [token for token in told or [] if token.token_id not in self._words.ends]
        made, self._offsets[index] = completion_logprobs(
            [*begin.logprobs, *content], self._words, self._offsets.get(index, 0)
        )
        return made


def _infills(service: Service, prompts: list[Any], suffix: str) -> tuple[list[list[int]], set[int]]:
    """Prompts for what stands between each of them and the suffix, and the ids that end it."""
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise ApiError(400, "suffix needs a prompt of text, not of token ids", "suffix")
    if service.model.tokenizer is None:
        raise ApiError(400, "suffix needs a tokenizer; this model has none", "suffix")
    try:
        made = [infill_prompt(service.model.tokenizer, prompt, suffix) for prompt in prompts]
    except ValueError as error:
        raise ApiError(400, f"suffix: {error}", "suffix") from error
    return [ids for ids, _ in made], {end for _, ends in made for end in ends}


def _prompts(prompt: Any) -> list[Any]:
    """A text, token ids, or a list of either, as a list."""
    if isinstance(prompt, list) and isinstance(prompt[0], str | list):
        return prompt
    return [prompt]
