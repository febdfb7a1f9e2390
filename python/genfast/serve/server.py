"""Runs the application under uvicorn, and stops it with grace."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn

from genfast.serve.app import create_app
from genfast.serve.settings import Settings

_CLOSING_SECONDS = 5  # for requests that were ended to be told so
_UNREAD_BYTES = 1 << 17  # of a connection, in the kernel: by itself that lets megabytes pile up


class Server(uvicorn.Server):
    """Stops on SIGINT and SIGTERM: takes no more connections, and ends requests that outlast the
    time of grace with what there is. A second signal ends them at once."""

    def __init__(
        self, model: Any, settings: Settings, ready: Callable[[str], None], **options: Any
    ) -> None:
        """ready: told the address once it answers. options: of `uvicorn.Config`."""
        app = create_app(model, settings)
        self._service = app.state.service
        self._ready = ready
        grace = round(settings.grace_seconds) + _CLOSING_SECONDS
        super().__init__(
            uvicorn.Config(
                app,
                timeout_graceful_shutdown=grace,
                lifespan="off",
                server_header=False,
                **options,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:  # the port is taken, for one; uvicorn has said so
            return
        for server in self.servers:
            for listening in server.sockets:  # the accepted ones inherit it
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        stopping = asyncio.ensure_future(self._service.stop())
        try:
            await super().shutdown(sockets)
        finally:
            stopping.cancel()
