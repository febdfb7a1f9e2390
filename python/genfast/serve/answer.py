"""How an answer goes out: whole, or event by event; not at all once its client has gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from genfast.serve.attend import ClientGone, EventStream, attend
from genfast.serve.keywords import wants_usage
from genfast.serve.service import Service
from genfast.serve.wire import json_response


class Job(Protocol):
    """A request that can be answered either way."""

    def events(self, with_usage: bool) -> AsyncIterator[dict[str, Any]]: ...

    async def whole(self) -> dict[str, Any]: ...


async def answer_whole(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> Response:
    try:
        return json_response(await attend(request.receive, work))
    except ClientGone:
        return Response(status_code=499)


async def answer(request: Request, body: dict[str, Any], job: Job, service: Service) -> Response:
    """As the body's `stream` asks for it."""
    with_usage = wants_usage(body)
    if body.get("stream"):
        events = job.events(with_usage)
        return EventStream(events, service.settings.send_seconds, service.describe)
    return await answer_whole(request, job.whole())
