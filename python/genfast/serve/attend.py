"""Work for a client, done only as long as the client is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response

from genfast.serve.wire import DONE, event

T = TypeVar("T")
_LOOK_SECONDS = 1.0  # how often a client that reads nothing is looked at

Receive = Callable[[], Awaitable[Any]]


class ClientGone(Exception):
    """The client left, or leaves what it was sent unread."""


async def attend(
    receive: Receive, work: Coroutine[Any, Any, T], stalled: Callable[[], bool] = lambda: False
) -> T:
    """The result of `work`, which is cancelled when the client goes: then ClientGone.

    The request's body must have been read: what `receive` says next is that the client is gone.
    """
    worker = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_disconnected(receive))
    try:
        while not worker.done():
            await asyncio.wait(
                {worker, watcher}, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if not worker.done() and (watcher.done() or stalled()):
                raise ClientGone
        return worker.result()
    finally:
        watcher.cancel()
        if not worker.done():
            worker.cancel()
            await asyncio.wait({worker})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events. What goes wrong before the first is an ordinary error response; what
    goes wrong later is an event itself, as `describe` tells it."""

    media_type = "text/event-stream"

    def __init__(
        self,
        values: AsyncIterator[Any],
        send_seconds: float,
        describe: Callable[[Exception], Any],
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._values = values
        self._send_seconds = send_seconds
        self._describe = describe
        self._sending_since: float | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await attend(receive, self._write(send), self._stalled)
        except ClientGone:
            return

    def _stalled(self) -> bool:
        since = self._sending_since
        return since is not None and time.monotonic() - since > self._send_seconds

    async def _write(self, send: Any) -> None:
        async with aclosing(self._values) as values:
            first = await anext(values)
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            await self._send(send, event(first))
            try:
                async for value in values:
                    await self._send(send, event(value))
            except Exception as error:
                await self._send(send, event(self._describe(error)))
            await self._send(send, DONE, more=False)

    async def _send(self, send: Any, data: bytes, more: bool = True) -> None:
        self._sending_since = time.monotonic()
        await send({"type": "http.response.body", "body": data, "more_body": more})
        self._sending_since = None
