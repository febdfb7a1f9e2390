"""Reading requests: bytes within limits, JSON, and what its schema says."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Iterable
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from starlette.requests import ClientDisconnect, Request

from genfast.serve.errors import ApiError
from genfast.serve.schemas import Schema
from genfast.serve.settings import Settings

_AT_ONCE = 1 << 15  # bytes of a request that is checked on the loop; larger ones in a thread


class Reader:
    """Reads the requests of one endpoint."""

    def __init__(self, schema: Schema, settings: Settings) -> None:
        self.fields = frozenset(schema["properties"])
        self._required = schema["required"]
        self._validator = Draft202012Validator(schema)
        self._settings = settings

    async def read(self, request: Request) -> dict[str, Any]:
        """The fields that the request gives; one that is null counts as not given."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # also: what other sites' pages may not send unasked
            raise ApiError(415, f"Content-Type is {kind!r}; expected 'application/json'")
        data = await self._receive(request)
        if len(data) <= _AT_ONCE:
            return self._parse(data)
        return await asyncio.to_thread(self._parse, data)

    async def _receive(self, request: Request) -> bytes:
        limit = self._settings.max_body_bytes
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and len(declared) < 20 and int(declared) > limit:
            raise _too_large(limit)
        try:
            return await asyncio.wait_for(_body(request, limit), self._settings.body_seconds)
        except asyncio.TimeoutError:
            seconds = self._settings.body_seconds
            raise ApiError(408, f"the request did not arrive within {seconds:g} s") from None
        except ClientDisconnect:
            raise ApiError(400, "the request ended before its length") from None

    def _parse(self, data: bytes) -> dict[str, Any]:
        try:
            value = json.loads(
                data.decode("utf-8"), parse_float=_number, parse_constant=_refuse_constant
            )
        except UnicodeDecodeError as error:
            raise ApiError(400, f"the body is not UTF-8 (byte {error.start})") from None
        except RecursionError:
            raise ApiError(400, "the body is nested too deep") from None
        except ValueError as error:
            raise ApiError(400, f"the body is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ApiError(400, f"the body is {_shown(value)}; expected a JSON object")
        given = {name: field for name, field in value.items() if field is not None}
        for name in given.keys() - self.fields:
            raise ApiError(400, _unknown(name, self.fields), name, "unknown_parameter")
        for name in self._required:
            if name not in given:
                raise ApiError(400, f"{name} is missing", name, "missing_required_parameter")
        try:
            error = next(self._validator.iter_errors(given), None)
        except RecursionError:
            raise ApiError(400, "the body is nested too deep") from None
        if error is not None:
            raise _invalid(error)
        return given


async def _body(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _too_large(limit: int) -> ApiError:
    return ApiError(
        413, f"the request is larger than {limit} bytes", headers={"Connection": "close"}
    )


def _number(text: str) -> float:
    """To JSON Schema 1.0 is an integer, so it becomes one."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _unknown(name: str, fields: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, fields, 1)
    return f"unknown field {name!r:.80}" + (f"; did you mean {near[0]!r}?" if near else "")


_EXPECTED = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
}


def _invalid(error: ValidationError) -> ApiError:
    path = param_of(error.absolute_path)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        path = f"{path}.{missing}"
        return ApiError(400, f"{path} is missing", path, "missing_required_parameter")
    if error.validator == "additionalProperties":
        extra = sorted(error.instance.keys() - error.schema["properties"].keys())[0]
        path = f"{path}.{extra}"
        message = f"{path}: {_unknown(extra, error.schema['properties'])}"
        return ApiError(400, message, path, "unknown_parameter")
    allowed = error.validator_value
    if error.validator == "type":
        expected = " or ".join([allowed] if isinstance(allowed, str) else allowed)
    elif error.validator == "enum":
        expected = "one of " + ", ".join(map(json.dumps, allowed))
    else:
        expected = _EXPECTED[error.validator].format(allowed)
    message = f"{path} is {_shown(error.instance)}; expected {expected}"
    return ApiError(400, message, path, "invalid_value")


def param_of(path: Iterable[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _shown(value: Any) -> str:
    if isinstance(value, list | dict) and value:
        return "an array" if isinstance(value, list) else "an object"
    return f"{json.dumps(value):.60}"
