"""The requests that a server runs: begun, measured, and ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any

from genfast.async_stream import AsyncStream
from genfast.results import Chunk, Usage
from genfast.serve.errors import ApiError, from_library
from genfast.serve.metrics import Metrics, Watch
from genfast.serve.settings import Settings

log = logging.getLogger("genfast")


class Service:
    """A model, what its operator decided, and the streams that run."""

    def __init__(self, model: Any, settings: Settings) -> None:
        self.model = model
        self.settings = settings
        self.metrics = Metrics(model)
        self.started = int(time.time())
        self.stopping = False
        self._running: set[AsyncStream] = set()

    def check_model(self, body: Mapping[str, Any]) -> None:
        name = body.get("model", self.settings.name)
        if name != self.settings.name:
            message = f"there is no model {name!r:.80} here; this is {self.settings.name!r}"
            raise ApiError(404, message, "model", "model_not_found")

    def check_choices(self, param: str, count: int) -> None:
        most = self.settings.max_choices
        if count > most:
            raise ApiError(400, f"{param} asks for {count} choices in all; at most {most}", param)

    async def chunks(
        self,
        streams: Sequence[AsyncStream],
        fields: Collection[str],
        names: Mapping[str, str],
    ) -> AsyncIterator[tuple[int, Chunk]]:
        """(which of the streams, chunk) as they come.

        fields, names: of the request, for the errors: see `from_library`.
        """
        watch = Watch(self.metrics)
        self._running |= set(streams)
        if self.stopping:
            self._cancel(streams)
        merged = _merged(streams) if len(streams) > 1 else _numbered(streams[0])
        try:
            async with aclosing(merged) as chunks:
                async for index, chunk in chunks:
                    watch.see(index, chunk)
                    yield index, chunk
        except Exception as error:
            told = from_library(error, fields, names)
            if told is None:
                raise
            raise told from error
        finally:
            self._cancel(streams)  # what has ended does not mind
            self._running -= set(streams)
            watch.close()

    def describe(self, error: Exception) -> dict[str, Any]:
        """An error in the middle of a stream, as its last event."""
        if not isinstance(error, ApiError):
            log.error("a stream failed", exc_info=error)
            error = ApiError(500, "the server failed; its log says why")
        return error.body()

    async def stop(self) -> None:
        """Lets requests run for the time of grace, then ends them with what there is."""
        self.stopping = True
        deadline = time.monotonic() + self.settings.grace_seconds
        while self._running and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        self._cancel(list(self._running))

    def _cancel(self, streams: Sequence[AsyncStream]) -> None:
        for stream in streams:
            stream.cancel()


async def _numbered(stream: AsyncStream) -> AsyncIterator[tuple[int, Chunk]]:
    async for chunk in stream:
        yield 0, chunk


async def _merged(streams: Sequence[AsyncStream]) -> AsyncIterator[tuple[int, Chunk]]:
    queue: asyncio.Queue[Any] = asyncio.Queue()

    async def read(index: int, stream: AsyncStream) -> None:
        try:
            async for chunk in stream:
                queue.put_nowait((index, chunk))
        except Exception as error:
            queue.put_nowait(error)
        else:
            queue.put_nowait(None)

    readers = [asyncio.ensure_future(read(i, stream)) for i, stream in enumerate(streams)]
    try:
        left = len(readers)
        while left:
            item = await queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for reader in readers:
            reader.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*readers, return_exceptions=True)


def total(usages: Sequence[Sequence[Usage]]) -> Usage:
    """Of the choices of each of several prompts."""
    parts = [Usage.total(of_prompt) for of_prompt in usages if of_prompt]
    return Usage(
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        completion_tokens=sum(part.completion_tokens for part in parts),
    )
