"""Streams for asyncio: a thread makes and waits for a request, the loop takes its chunks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from genfast.generation import Run, stream_all
from genfast.results import Chunk


class AsyncStream:
    """Chunks of one request: `async for chunk in stream`.

    The request starts when the first chunk is asked for; whatever is wrong with it is raised
    there. Nothing here blocks the loop: prompts are encoded and grammars compiled in a thread.
    Cancelling the task that waits, `aclose` or letting go of the stream cancel the request.
    """

    def __init__(self, make: Callable[[], Sequence[Run]]) -> None:
        self._pump = _Pump(make)
        self._queue: asyncio.Queue[Any] | None = None
        self._ended = False

    def cancel(self) -> None:
        """Ends the request with what there is: its last chunks say "cancelled"."""
        self._pump.cancel()

    def __aiter__(self) -> AsyncStream:
        return self

    async def __anext__(self) -> Chunk:
        if self._ended:
            raise StopAsyncIteration
        if self._queue is None:
            self._queue = asyncio.Queue()
            self._pump.start(asyncio.get_running_loop(), self._queue)
        try:
            item = await self._queue.get()
        except BaseException:
            self.cancel()
            raise
        if isinstance(item, Chunk):
            return item
        self._ended = True
        raise StopAsyncIteration if item is None else item

    async def aclose(self) -> None:
        self._ended = True
        self.cancel()

    def __del__(self) -> None:
        self._pump.cancel()


class _Pump:
    """The thread's side, which knows nothing of the stream: that may be let go of meanwhile."""

    def __init__(self, make: Callable[[], Sequence[Run]]) -> None:
        self._make = make
        self._runs: Sequence[Run] = ()
        self._cancelled = False
        self._lock = threading.Lock()

    def start(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Any]) -> None:
        threading.Thread(
            target=self._run, args=(loop, queue), name="genfast-astream", daemon=True
        ).start()

    def cancel(self) -> None:
        with self._lock:
            self._cancelled = True
            runs = self._runs
        for run in runs:
            if run.finish_reason is None:
                run.cancel()

    def _run(self, loop: asyncio.AbstractEventLoop, queue: asyncio.Queue[Any]) -> None:
        last: BaseException | None = None
        try:
            runs = self._make()
            with self._lock:
                self._runs = runs
                cancelled = self._cancelled
            if cancelled:  # while they were made
                self.cancel()
            for chunk in stream_all(runs):
                loop.call_soon_threadsafe(queue.put_nowait, chunk)
        except BaseException as error:
            last = error
        try:
            loop.call_soon_threadsafe(queue.put_nowait, last)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.cancel()
