"""The server of `genfast.serve` on Ray Serve: an entry for clients, and replicas of the model.

Prompts that begin alike go to the same replica, whose pages of keys and values they share; when
that one has enough to do they go to the next.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from genfast.serve.settings import Settings

_PREFIX = 256  # characters of a prompt that decide; a page of keys and values holds about half


def serve_application(
    load: Mapping[str, Any],
    settings: Settings | None = None,
    *,
    replicas: int = 1,
    cpus: float = 1,
    at_once: int = 64,
) -> serve.Application:
    """For `ray.serve.run`. load: keywords of `genfast.load`; a directory must be there on every
    machine. replicas: models, each on `cpus` processors and with `at_once` requests at most."""
    model = serve.deployment(
        _Replica,
        name="model",
        num_replicas=replicas,
        ray_actor_options={"num_cpus": cpus},
        max_ongoing_requests=at_once,
        request_router_config=RequestRouterConfig(request_router_class=PrefixRouter),
    ).bind(dict(load), settings or Settings())
    entry = serve.deployment(
        _Entry,
        name="entry",
        max_ongoing_requests=replicas * at_once * 2,
        ray_actor_options={"num_cpus": 0},
    )
    return entry.bind(model)


def prefix_of(body: bytes) -> str:
    """What a request's prompt begins with; "" where it has none that could be shared."""
    try:
        fields = json.loads(body)
        prompt = fields.get("prompt", fields.get("messages", ""))
    except (ValueError, AttributeError, RecursionError):
        return ""
    return (prompt if isinstance(prompt, str) else json.dumps(prompt))[:_PREFIX]


class PrefixRouter(RequestRouter):
    """Ranks replicas for each prefix by a hash of both: every router ranks alike, and when a
    replica comes or goes only its own prefixes move."""

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        prefix = pending_request.args[0] if pending_request and pending_request.args else ""
        if not prefix:
            return [candidate_replicas]
        ranks = {r: rank(prefix, r.replica_id.unique_id) for r in candidate_replicas}
        return [[replica] for replica in sorted(ranks, key=ranks.__getitem__)]


def rank(prefix: str, replica: str) -> bytes:
    return hashlib.blake2b(f"{replica}\n{prefix}".encode("utf-8", "replace")).digest()


class _Replica:
    """A model and the application that serves it."""

    def __init__(self, load: dict[str, Any], settings: Settings) -> None:
        import genfast
        from genfast.serve import create_app

        self._app = create_app(genfast.load(**load, progress=False), settings)

    async def answer(
        self, prefix: str, scope: dict[str, Any], body: bytes
    ) -> AsyncIterator[dict[str, Any]]:
        """What the application sends. prefix: read by the router."""
        sent: asyncio.Queue[Any] = asyncio.Queue()
        asked, gone = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not asked.is_set():
                asked.set()
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        work = asyncio.ensure_future(self._app(scope, receive, sent.put))
        work.add_done_callback(lambda _: sent.put_nowait(None))
        try:
            while (message := await sent.get()) is not None:
                yield message
        finally:
            gone.set()


class _Entry:
    """Takes requests and hands them to the replica that the router chooses."""

    def __init__(self, model: Any) -> None:
        self._answer = model.options(stream=True).answer

    async def __call__(self, request: Request) -> Response:
        body = await request.body()
        names = ("type", "http_version", "method", "path", "query_string", "headers", "scheme")
        scope = {name: request.scope[name] for name in names if name in request.scope}
        messages = self._answer.remote(prefix_of(body), scope, body)
        start = await anext(messages)

        async def parts() -> AsyncIterator[bytes]:
            try:
                async for message in messages:
                    yield message.get("body", b"")
            finally:
                messages.cancel()  # what has ended does not mind

        response = StreamingResponse(parts(), start["status"])
        response.raw_headers = list(start["headers"])
        return response
