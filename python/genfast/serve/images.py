"""`/v1/images/generations`, where the model that was loaded makes images."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from genfast.serve.answer import answer_whole
from genfast.serve.errors import ApiError, from_library
from genfast.serve.requests import Reader
from genfast.serve.schemas import IMAGE
from genfast.serve.service import Service

_PASSED = ("n", "negative_prompt", "steps", "guidance_scale", "scheduler")
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")
_MOST = 10  # images of one request, as OpenAI has it
_WAITING = 16  # requests that may wait for their turn: one after the other has the processors


class Images:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = Reader(IMAGE, service.settings)
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, request: Request) -> Response:
        body = await self._reader.read(request)
        self._service.check_model(body)
        options = _options(body)
        if self._waiting >= _WAITING:
            told = f"{_WAITING} requests wait already"
            raise ApiError(429, told, code="queue_full", headers={"Retry-After": "10"})
        self._waiting += 1
        try:
            return await answer_whole(request, self._answer(body, options))
        finally:
            self._waiting -= 1

    async def _answer(self, body: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        wanted = True
        deadline = time.monotonic() + self._service.settings.deadline_seconds

        def go_on(_: Any) -> bool:
            return wanted and not self._service.stopping and time.monotonic() < deadline

        form = body.get("output_format", "png")
        try:
            async with self._turn:
                made = await asyncio.to_thread(
                    self._service.model.generate, body["prompt"], callback=go_on, **options
                )
                if made.finish_reason != "stop":
                    raise ApiError(503, "the images were not finished in time", code="deadline")
                coded = await asyncio.to_thread(_encode, made.images, form)
        except Exception as error:
            names = {"height": "size", "width": "size"}
            raise (from_library(error, self._reader.fields, names) or error) from error
        finally:
            wanted = False  # the client may be gone: the thread learns it at its next step
        return {"created": int(time.time()), "data": coded, "output_format": form}


def _options(body: dict[str, Any]) -> dict[str, Any]:
    options = {name: body[name] for name in _PASSED if name in body}
    if options.get("n", 1) > _MOST:
        raise ApiError(400, f"n is {options['n']}; expected at most {_MOST}", "n")
    if "seed" in body:
        options["seed"] = int(body["seed"]) % 2**64
    size = body.get("size", "auto")
    if size != "auto":
        found = _SIZE.fullmatch(size)
        if found is None:
            raise ApiError(400, f"size is {size!r:.60}; expected WIDTHxHEIGHT or 'auto'", "size")
        options |= {"width": int(found[1]), "height": int(found[2])}
    return options


def _encode(images: Any, form: str) -> list[dict[str, str]]:
    coded = []
    for image in images:
        data = io.BytesIO()
        image.save(data, form.upper())
        coded.append({"b64_json": base64.b64encode(data.getvalue()).decode()})
    return coded
