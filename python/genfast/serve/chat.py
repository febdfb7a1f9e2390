"""`/v1/chat/completions`: answers in a conversation."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from genfast.results import Chunk, Usage
from genfast.serve.answer import answer
from genfast.serve.errors import ApiError
from genfast.serve.keywords import keywords
from genfast.serve.logprobs import Words, chat_logprobs
from genfast.serve.messages import for_template
from genfast.serve.requests import Reader
from genfast.serve.schemas import CHAT
from genfast.serve.service import Service
from genfast.serve.shapes import finish_of, new_id, usage_of
from genfast.tool_calls import ToolCall

_FORMAT_SCHEMA = "response_format.json_schema.schema"
_NAMES = {
    "json_schema": _FORMAT_SCHEMA,
    "prompt": "messages",
    "text": "messages",
    "logprobs": "top_logprobs",
}


class Chat:
    """stops: strings that end an answer, beside those of a request: a plain template needs one."""

    def __init__(self, service: Service, stops: Sequence[str] = ()) -> None:
        self._service = service
        self._stops = list(stops)
        self._reader = Reader(CHAT, service.settings)

    async def __call__(self, request: Request) -> Response:
        body = await self._reader.read(request)
        job = _Job(self._service, body, self._stops, self._reader.fields)
        return await answer(request, body, job, self._service)


class _Job:
    """One request."""

    def __init__(
        self, service: Service, body: dict[str, Any], stops: list[str], fields: frozenset[str]
    ) -> None:
        service.check_model(body)
        if service.model.tokenizer is None:
            raise ApiError(400, "messages need a tokenizer; this model has none", "messages")
        self._n = body.get("n", 1)
        service.check_choices("n", self._n)
        options = keywords(body, service) | _length(body, service) | _format(body)
        if stops:
            given = options.get("stop", [])
            options["stop"] = [*([given] if isinstance(given, str) else given), *stops]
        self._logprobs = body.get("logprobs", False)
        if self._logprobs:
            options["logprobs"] = body.get("top_logprobs", 0)
        elif "top_logprobs" in body:
            raise ApiError(400, "top_logprobs needs logprobs: true", "top_logprobs")
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            if name in body:
                options[name] = body[name] or None if name == "tools" else body[name]
        self._service, self._fields = service, fields
        self._words = Words(service.model.tokenizer)
        self._stream = service.model.achat(for_template(body["messages"]), **options)
        self._head = {
            "id": new_id("chatcmpl"),
            "created": int(time.time()),
            "model": service.settings.name,
        }

    async def _chunks(self) -> AsyncIterator[Chunk]:
        async for _, chunk in self._service.chunks([self._stream], self._fields, _NAMES):
            yield chunk

    async def events(self, with_usage: bool) -> AsyncIterator[dict[str, Any]]:
        head = {**self._head, "object": "chat.completion.chunk"}
        more = {"usage": None} if with_usage else {}
        usages: list[Usage] = []
        seen: set[int] = set()
        async for chunk in self._chunks():
            index, reason = chunk.index, chunk.finish_reason
            delta: dict[str, Any] = {} if index in seen else {"role": "assistant"}
            if chunk.content or index not in seen:
                delta["content"] = chunk.content
            seen.add(index)
            if chunk.tool_calls:
                calls = enumerate(chunk.tool_calls)
                delta["tool_calls"] = [{"index": i, **_call(call)} for i, call in calls]
            choice = {
                "index": index,
                "delta": delta,
                "logprobs": self._told(chunk.logprobs),
                **(_finish(reason, chunk.tool_calls) if reason else {"finish_reason": None}),
            }
            if chunk.usage is not None:
                usages.append(chunk.usage)
            if delta or reason or choice["logprobs"]:
                yield {**head, "choices": [choice], **more}
        if with_usage:
            yield {**head, "choices": [], "usage": usage_of(Usage.total(usages))}

    async def whole(self) -> dict[str, Any]:
        contents: list[list[str]] = [[] for _ in range(self._n)]
        told: list[list[Any]] = [[] for _ in range(self._n)]
        last: dict[int, Chunk] = {}
        async for chunk in self._chunks():
            contents[chunk.index].append(chunk.content)
            told[chunk.index] += chunk.logprobs or []
            if chunk.finish_reason is not None:
                last[chunk.index] = chunk
        choices = []
        for index, chunk in sorted(last.items()):
            content = "".join(contents[index])
            message = {"role": "assistant", "content": content, "refusal": None}
            if chunk.tool_calls:
                message["content"] = content or None
                message["tool_calls"] = [_call(call) for call in chunk.tool_calls]
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": self._told(told[index]),
                    **_finish(chunk.finish_reason or "length", chunk.tool_calls),
                }
            )
        usage = Usage.total([chunk.usage for chunk in last.values() if chunk.usage is not None])
        head = {**self._head, "object": "chat.completion"}
        return {**head, "choices": choices, "usage": usage_of(usage)}

    def _told(self, told: Any) -> dict[str, Any] | None:
        return chat_logprobs(told or [], self._words) if self._logprobs else None


def _length(body: dict[str, Any], service: Service) -> dict[str, Any]:
    """As long as the context lets it, where the request says nothing."""
    if "max_tokens" in body and "max_completion_tokens" in body:
        message = "max_completion_tokens and max_tokens are the same: give one of them"
        raise ApiError(400, message, "max_completion_tokens")
    most = body.get("max_completion_tokens", body.get("max_tokens"))
    return {"max_tokens": service.model.context_length if most is None else most}


def _format(body: dict[str, Any]) -> dict[str, Any]:
    form = body.get("response_format", {"type": "text"})
    if form["type"] == "json_object":
        return {"json_schema": {"type": "object"}}
    if form["type"] == "json_schema":
        if "json_schema" not in form:
            where = "response_format.json_schema"
            raise ApiError(400, f"{where} is missing", where, "missing_required_parameter")
        return {"json_schema": form["json_schema"]["schema"]}
    return {}


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}


def _finish(reason: str, calls: Sequence[ToolCall]) -> dict[str, Any]:
    return {"finish_reason": "tool_calls"} if calls and reason == "stop" else finish_of(reason)
