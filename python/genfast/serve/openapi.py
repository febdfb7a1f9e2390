"""`/openapi.json`: what the server answers, from the schemas that it checks requests by."""

from __future__ import annotations

from typing import Any

from genfast.serve import schemas

_BODIES = {
    "/v1/completions": schemas.COMPLETION,
    "/v1/chat/completions": schemas.CHAT,
    "/v1/embeddings": schemas.EMBEDDING,
    "/v1/images/generations": schemas.IMAGE,
    "/tokenize": schemas.TOKENIZE,
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def document(name: str, posts: list[str]) -> dict[str, Any]:
    """OpenAPI 3.1. name: of the model; posts: the paths that take a body."""
    from genfast import __version__

    paths: dict[str, Any] = {path: {"post": _post(name, _BODIES[path])} for path in posts}
    for path in ("/health", "/v1/models"):
        paths[path] = {"get": {"responses": _responses("application/json")}}
    paths["/metrics"] = {"get": {"responses": _responses("text/plain")}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "genfast", "version": __version__},
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


def _post(name: str, body: dict[str, Any]) -> dict[str, Any]:
    fields = {**body["properties"], "model": {**body["properties"]["model"], "enum": [name]}}
    schema = {**body, "properties": fields}
    content = {"application/json": {"schema": schema}}
    return {
        "requestBody": {"required": True, "content": content},
        "responses": _responses("application/json", "text/event-stream"),
    }


def _responses(*kinds: str) -> dict[str, Any]:
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    return {
        "200": {"description": "done", "content": {kind: {} for kind in kinds}},
        "default": {"description": "an error", "content": {"application/json": error}},
    }
