"""Tools, calls of them, and how each notation has these."""

from __future__ import annotations

import json

from genfast.tool_calls import ToolCall
from genfast.tool_formats import ARGUMENTS, ID, INDEX, IS_TEXT, KEY, NAME, VALUE

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its name."},
                    "days": {"type": "integer", "description": "How many."},
                    "unit": {"enum": ["C", "F"], "type": "string", "description": "Of degrees."},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "A sum.",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "number", "description": "This."},
                    "b": {"type": "number", "description": "That."},
                },
                "required": ["a", "b"],
            },
        },
    },
]
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
CALLS = [("get_weather", {"city": "7", "days": 3}), ("add", {"a": 1.5, "b": -2})]


def written(form, calls) -> str:
    """The calls as the notation has them."""
    texts = []
    for index, (name, arguments) in enumerate(calls):
        if form.parameter:
            each = []
            for key, value in arguments.items():
                text = json.dumps(value)
                if isinstance(value, str) and (form.raw or form.quote):
                    text = form.quote + value + form.quote
                kind = json.dumps(isinstance(value, str))
                text = form.parameter.replace(IS_TEXT, kind).replace(VALUE, text)
                each.append(text.replace(KEY, key))
            body = form.comma.join(each)
        else:
            body = json.dumps(arguments)
        text = form.call.replace(NAME, name).replace(ID, "abcdefgh1").replace(INDEX, str(index))
        texts.append(text.replace(ARGUMENTS, body))
    return form.before + form.between.join(texts) + form.after


def pairs(calls: list[ToolCall]):
    return [(call.name, call.arguments) for call in calls]
