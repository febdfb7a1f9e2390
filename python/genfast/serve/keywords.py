"""Fields of a request to keywords of `generate`."""

from __future__ import annotations

from typing import Any

from genfast.serve.errors import ApiError
from genfast.serve.schemas import SAMPLING
from genfast.serve.service import Service


def keywords(body: dict[str, Any], service: Service) -> dict[str, Any]:
    """The keywords that completions and chats have in common."""
    options = {name: body[name] for name in SAMPLING if name in body}
    if "seed" in body:
        options["seed"] = int(body["seed"]) % 2**64  # OpenAI's may be negative
    if body.get("stop"):
        options["stop"] = body["stop"]
    if body.get("logit_bias"):
        options["logit_bias"] = {_token(key): bias for key, bias in body["logit_bias"].items()}
    most = service.settings.deadline_seconds * 1e3
    asked = options.get("deadline_ms", most)
    options["deadline_ms"] = min(asked, most)
    return options


def _token(key: str) -> int:
    if not key.isascii() or not key.isdigit() or len(key) > 10:
        raise ApiError(400, f"logit_bias names {key!r:.60}; expected a token id", "logit_bias")
    return int(key)


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether a stream ends with its usage."""
    if "stream_options" in body and not body.get("stream"):
        raise ApiError(400, "stream_options needs stream: true", "stream_options")
    return bool(body.get("stream_options", {}).get("include_usage"))
