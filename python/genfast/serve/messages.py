"""Messages as OpenAI's API has them to what chat templates read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from genfast.serve.errors import ApiError


def for_template(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: Mapping[str, Any], where: str) -> dict[str, Any]:
    made = {name: value for name, value in message.items() if value is not None}
    if made["role"] == "developer":  # what OpenAI's newer models call it
        made["role"] = "system"
    if isinstance(made.get("content"), list):
        made["content"] = "".join(
            _text(part, f"{where}.content[{index}]") for index, part in enumerate(made["content"])
        )
    if "tool_calls" in made:
        made["tool_calls"] = [
            _call(call, f"{where}.tool_calls[{index}]")
            for index, call in enumerate(made["tool_calls"])
        ]
        made.setdefault("content", "")
    return made


def _text(part: Mapping[str, Any], where: str) -> str:
    for kind in ("text", "refusal"):
        if part["type"] == kind:
            if not isinstance(part.get(kind), str):
                raise ApiError(400, f"{where}.{kind} is no string", f"{where}.{kind}")
            return part[kind]
    message = f"{where}.type is {part['type']!r:.60}; this model reads 'text' alone"
    raise ApiError(400, message, f"{where}.type", "invalid_value")


def _call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Templates read the arguments as an object, and the API has them as its JSON text."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ApiError(400, f"{where}.function needs a name", f"{where}.function")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, Mapping):
        where = f"{where}.function.arguments"
        raise ApiError(400, f"{where} is not the JSON text of an object", where)
    return {**call, "type": "function", "function": {**function, "arguments": arguments}}
