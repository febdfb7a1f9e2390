"""`/v1/completions`: text that goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from genfast.results import Chunk, Usage
from genfast.serve.answer import answer
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

    async def __call__(self, request: Request) -> Response:
        body = await self._reader.read(request)
        job = _Job(self._service, body, self._reader.fields)
        return await answer(request, body, job, self._service)


class _Job:
    """One request."""

    def __init__(self, service: Service, body: dict[str, Any], fields: frozenset[str]) -> None:
        service.check_model(body)
        self._prompts = _prompts(body["prompt"])
        self._n = body.get("n", 1)
        if body.get("best_of", self._n) != self._n:
            raise ApiError(400, f"best_of is {body['best_of']}; expected n ({self._n})", "best_of")
        service.check_choices("prompt" if self._n == 1 else "n", len(self._prompts) * self._n)
        options = keywords(body, service)
        options["max_tokens"] = body.get("max_tokens", _MAX_TOKENS)
        self._echo = body.get("echo", False)
        self._logprobs = "logprobs" in body
        if self._logprobs:
            if self._echo:
                raise ApiError(400, "echo and logprobs exclude each other", "echo")
            if service.model.tokenizer is None:
                raise ApiError(400, "logprobs needs a tokenizer; this model has none", "logprobs")
            options["logprobs"] = body["logprobs"]
            self._words = Words(service.model.tokenizer)
        self._service = service
        self._streams = [service.model.astream(prompt, **options) for prompt in self._prompts]
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
        seen = set()
        async for index, chunk in self._chunks():
            text = self._prompt_text(index) + chunk.text if index not in seen else chunk.text
            seen.add(index)
            reason = chunk.finish_reason
            choice = {
                "index": index,
                "text": text,
                "logprobs": self._told(index, chunk.logprobs),
                **(finish_of(reason) if reason else {"finish_reason": None}),
            }
            if chunk.usage is not None:
                usages[index // self._n].append(chunk.usage)
            yield {**self._head, "choices": [choice], **({"usage": None} if with_usage else {})}
        if with_usage:
            yield {**self._head, "choices": [], "usage": usage_of(total(usages))}

    async def whole(self) -> dict[str, Any]:
        usages: list[list[Usage]] = [[] for _ in self._prompts]
        count = len(self._prompts) * self._n
        texts = [[self._prompt_text(index)] for index in range(count)]
        told: list[list[Any]] = [[] for _ in range(count)]
        reasons = ["length"] * count
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
                "logprobs": self._told(index, told[index]),
                **finish_of(reasons[index]),
            }
            for index in range(count)
        ]
        return {**self._head, "choices": choices, "usage": usage_of(total(usages))}

    def _prompt_text(self, index: int) -> str:
        if not self._echo:
            return ""
        prompt = self._prompts[index // self._n]
        tokenizer = self._service.model.tokenizer
        return prompt if isinstance(prompt, str) or tokenizer is None else tokenizer.decode(prompt)

    def _told(self, index: int, told: Any) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        made, self._offsets[index] = completion_logprobs(
            told or [], self._words, self._offsets.get(index, 0)
        )
        return made


def _prompts(prompt: Any) -> list[Any]:
    """A text, token ids, or a list of either, as a list."""
    if isinstance(prompt, list) and isinstance(prompt[0], str | list):
        return prompt
    return [prompt]
