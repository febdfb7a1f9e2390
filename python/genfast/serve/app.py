"""The application: which path is answered by what."""

from __future__ import annotations

import logging
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genfast import plain_chat
from genfast.serve.chat import Chat
from genfast.serve.completions import Completions
from genfast.serve.embeddings import Embeddings
from genfast.serve.errors import (
    ApiError,
    answer_api_error,
    answer_bug,
    answer_http_error,
)
from genfast.serve.guard import Guard
from genfast.serve.images import Images
from genfast.serve.openapi import document
from genfast.serve.page import page
from genfast.serve.service import Service
from genfast.serve.settings import Settings
from genfast.serve.tokenize import Tokenize
from genfast.serve.wire import json_response

log = logging.getLogger("genfast")


def create_app(model: Any, settings: Settings | None = None) -> Starlette:
    """An ASGI application that serves a model of `genfast.load`; `app.state.service` stops it.

    A model without a chat template gets a plain one, and the log says so.
    """
    service = Service(model, settings or Settings())
    posts = _text(service) if hasattr(model, "stream") else _images(service)
    about = _About(service, list(posts))
    gets = {
        "/": about.page,
        "/health": about.health,
        "/metrics": about.metrics,
        "/openapi.json": about.openapi,
        "/v1/models": about.models,
        "/v1/models/{name:path}": about.model,
    }
    routes = [Route(path, _handler(answer), methods=["POST"]) for path, answer in posts.items()]
    routes += [Route(path, answer, methods=["GET"]) for path, answer in gets.items()]
    middleware = [Middleware(Guard, service=service, paths=frozenset(posts) | frozenset(gets))]
    if service.settings.origins:
        cors = {"allow_methods": ["GET", "POST"], "allow_headers": ["*"]}
        origins = list(service.settings.origins)
        middleware.insert(0, Middleware(CORSMiddleware, allow_origins=origins, **cors))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            ApiError: answer_api_error,
            HTTPException: answer_http_error,
            Exception: answer_bug,
        },
    )
    app.state.service = service
    return app


def _text(service: Service) -> dict[str, Any]:
    tokenizer, stops = service.model.tokenizer, []
    if tokenizer is not None and tokenizer.chat_template is None:
        log.warning("%s", plain_chat.WARNING)
        tokenizer.chat_template = plain_chat.TEMPLATE
        stops = [plain_chat.STOP]
    return {
        "/v1/completions": Completions(service),
        "/v1/chat/completions": Chat(service, stops),
        "/v1/embeddings": Embeddings(service),
        "/tokenize": Tokenize(service),
    }


def _images(service: Service) -> dict[str, Any]:
    return {"/v1/images/generations": Images(service)}


def _handler(answer: Any) -> Any:
    """An object that answers, as the function that a route takes."""

    async def handle(request: Request) -> Response:
        return await answer(request)

    return handle


class _About:
    """What a server tells of itself."""

    def __init__(self, service: Service, posts: list[str]) -> None:
        self._service = service
        self._page = page("texts" if hasattr(service.model, "stream") else "images")
        self._document = document(service.settings.name, posts)

    async def page(self, _: Request) -> Response:
        # Nothing from elsewhere, and nobody's frame: the page may hold an API key.
        policy = (
            "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache"}
        return Response(self._page, 200, headers, "text/html")

    async def health(self, _: Request) -> Response:
        stopping = self._service.stopping
        status = "stopping" if stopping else "ok"
        return json_response({"status": status}, 503 if stopping else 200)

    async def metrics(self, _: Request) -> Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(self._service.metrics.text(), 200, media_type=kind)

    async def openapi(self, _: Request) -> Response:
        return json_response(self._document)

    async def models(self, _: Request) -> Response:
        return json_response({"object": "list", "data": [self._model()]})

    async def model(self, request: Request) -> Response:
        self._service.check_model({"model": request.path_params["name"]})
        return json_response(self._model())

    def _model(self) -> dict[str, Any]:
        model = self._service.model
        return {
            "id": self._service.settings.name,
            "object": "model",
            "created": self._service.started,
            "owned_by": "genfast",
            **({"max_model_len": model.context_length} if hasattr(model, "stream") else {}),
        }
