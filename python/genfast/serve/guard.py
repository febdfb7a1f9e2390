"""What every request passes first: the right host, the right key; and what counts the answers."""

from __future__ import annotations

import hmac
from typing import Any

from genfast.serve.errors import ApiError, answer_api_error
from genfast.serve.service import Service

_OPEN = frozenset({"/", "/health"})


class Guard:
    """ASGI middleware. What is open to all tells nothing of the model."""

    def __init__(self, app: Any, service: Service, paths: frozenset[str]) -> None:
        self._app = app
        self._settings = service.settings
        self._requests = service.metrics.requests
        self._paths = paths

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._paths else "other"  # labels stay few

        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(path, str(message["status"])).inc()
            await send(message)

        error = self._refusal(scope)
        if error is None:
            await self._app(scope, receive, counted)
        else:
            response = await answer_api_error(None, error)  # type: ignore[arg-type]
            await response(scope, receive, counted)

    def _refusal(self, scope: Any) -> ApiError | None:
        headers = dict(scope["headers"])
        hosts = self._settings.hosts
        host = _name(headers.get(b"host", b"").decode("latin-1"))
        if hosts and host not in hosts:
            return ApiError(421, f"this server does not answer for {host!r:.80}")
        key = self._settings.api_key
        if key is None or scope["path"] in _OPEN or scope["method"] == "OPTIONS":
            return None
        given = headers.get(b"authorization", b"")
        if hmac.compare_digest(given, b"Bearer " + key.encode()):
            return None
        told = "no API key was given" if not given else "the API key is wrong"
        headers_out = {"WWW-Authenticate": "Bearer"}
        return ApiError(
            401, f"{told}: Authorization: Bearer KEY", None, "invalid_api_key", headers_out
        )


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):  # an IPv6 address
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()
