"""Errors as OpenAI's API tells them: a status, a message, and the field that is wrong."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from genfast.errors import DeadlineError, QueueFull
from genfast.serve.wire import json_response

log = logging.getLogger("genfast")

_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """param: the field of the request that is wrong, as a path: "messages[0].role"."""

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        server = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": self.message,
                "type": _KINDS.get(self.status, server),
                "param": self.param,
                "code": self.code,
            }
        }


# How the library's messages begin: the keyword that is wrong, or the path of what is in it.
_SUBJECT = re.compile(r"(?:unknown keyword ')?([a-z]\w*(?:\[\d+\]|\.\w+)*)(?=[=:']| \w|$)")
_RETRY = {"Retry-After": "1"}


def from_library(
    error: BaseException, fields: Collection[str], names: Mapping[str, str]
) -> ApiError | None:
    """What an error of a generation means to the client; None for one that is no one's but ours.

    fields: of the request. names: what the request calls a keyword of the library.
    """
    text = str(error)
    if isinstance(error, QueueFull):
        return ApiError(429, text, code="queue_full", headers=_RETRY)
    if isinstance(error, DeadlineError):
        return ApiError(503, text, "deadline_ms", "deadline", _RETRY)
    if isinstance(error, MemoryError):
        return ApiError(503, text or "out of memory", code="out_of_memory", headers=_RETRY)
    if isinstance(error, ImportError):
        return ApiError(501, text, code="not_installed")
    if not isinstance(error, ValueError):
        return None
    found = _SUBJECT.match(text)
    path = found[1] if found else ""
    head = re.split(r"[\[.]", path)[0]
    param = names[head] + path[len(head) :] if head in names else path
    known = re.split(r"[\[.]", param)[0] in fields
    too_long = "the model's context holds" in text
    return ApiError(
        400, text, param if known else None, "context_length_exceeded" if too_long else None
    )


async def answer_api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return json_response(error.body(), error.status, error.headers)


async def answer_http_error(request: Request, error: Exception) -> Response:
    """Of Starlette's own: no such path, no such method."""
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    told = ApiError(error.status_code, message, headers=error.headers)
    return await answer_api_error(request, told)


async def answer_bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await answer_api_error(request, ApiError(500, "the server failed; its log says why"))
