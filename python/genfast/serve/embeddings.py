"""`/v1/embeddings`: texts as vectors."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from genfast.serve.answer import answer_whole
from genfast.serve.errors import ApiError, from_library
from genfast.serve.requests import Reader
from genfast.serve.schemas import EMBEDDING
from genfast.serve.service import Service

_WAITING = 64  # requests that may wait for their turn; texts are embedded one after the other


class Embeddings:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = Reader(EMBEDDING, service.settings)
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, request: Request) -> Response:
        body = await self._reader.read(request)
        self._service.check_model(body)
        texts = body["input"]
        if isinstance(texts, str) or not isinstance(texts[0], str | list):
            texts = [texts]
        self._service.check_choices("input", len(texts))
        if self._waiting >= _WAITING:
            told = f"{_WAITING} requests wait already"
            raise ApiError(429, told, code="queue_full", headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            return await answer_whole(request, self._answer(body, texts))
        finally:
            self._waiting -= 1

    async def _answer(self, body: dict[str, Any], texts: list[Any]) -> dict[str, Any]:
        data, tokens = [], 0
        for index, text in enumerate(texts):
            async with self._turn:  # between texts others have theirs, and a client may be gone
                vector, count = await asyncio.to_thread(self._embed, text)
            size = body.get("dimensions", len(vector))
            if size != len(vector):
                message = f"dimensions is {size}; expected {len(vector)}, as this model has"
                raise ApiError(400, message, "dimensions")
            tokens += count
            shown: Any = vector.tolist()
            if body.get("encoding_format") == "base64":
                shown = base64.b64encode(vector.astype("<f4").tobytes()).decode()
            data.append({"object": "embedding", "index": index, "embedding": shown})
        return {
            "object": "list",
            "model": self._service.settings.name,
            "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def _embed(self, text: Any) -> tuple[np.ndarray, int]:
        model = self._service.model
        try:
            (vector,) = model.embed([text])
            ids = model.tokenizer.encode(text) if isinstance(text, str) else text
            return vector, len(ids)
        except Exception as error:
            told = from_library(
                error, self._reader.fields, dict.fromkeys(("prompt", "text", "texts"), "input")
            )
            raise (told or error) from error
