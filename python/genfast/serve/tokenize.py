"""`/tokenize`: the token ids of a text or a chat."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from genfast.serve.errors import ApiError, from_library
from genfast.serve.logprobs import Words
from genfast.serve.messages import for_template
from genfast.serve.requests import Reader
from genfast.serve.schemas import TOKENIZE
from genfast.serve.service import Service
from genfast.serve.wire import json_response


class Tokenize:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._reader = Reader(TOKENIZE, service.settings)

    async def __call__(self, request: Request) -> Response:
        body = await self._reader.read(request)
        self._service.check_model(body)
        if self._service.model.tokenizer is None:
            raise ApiError(400, "this model has no tokenizer")
        if ("prompt" in body) == ("messages" in body):
            raise ApiError(400, "give prompt, or messages", "prompt")
        try:
            ids, strings = await asyncio.to_thread(self._ids, body)
        except Exception as error:
            names = {"text": "prompt"}
            raise (from_library(error, self._reader.fields, names) or error) from error
        most = self._service.model.context_length
        return json_response(
            {"count": len(ids), "max_model_len": most, "tokens": ids, "token_strs": strings}
        )

    def _ids(self, body: dict[str, Any]) -> tuple[list[int], list[str]]:
        model = self._service.model
        if "messages" in body:
            ids = model.chat_ids(for_template(body["messages"]), tools=body.get("tools") or None)
        else:
            ids = model.tokenizer.encode(body["prompt"], body.get("add_special_tokens", True))
        words = Words(model.tokenizer)
        return ids, [words.text_of(token_id) for token_id in ids]
