"""The calls of tools that a model asks for, read from what it wrote."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from genfast.tool_formats import (
    ARGUMENTS,
    ID,
    IDENTIFIER,
    INDEX,
    IS_TEXT,
    KEY,
    NAME,
    PYTHONIC,
    VALUE,
    Format,
)

_CONSTANTS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for. id: names it in the conversation that follows."""

    name: str
    arguments: dict[str, Any]
    id: str

    def to_dict(self) -> dict[str, Any]:
        """As an entry of a message's tool_calls, for the next turn of the conversation."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


def read_calls(
    form: Format, text: str, functions: Mapping[str, Any], seed: bytes = b""
) -> list[ToolCall]:
    """The calls in a reply, its special tokens included; those that are incomplete are left out.

    functions: the schemas of the parameters, by name; other names are no calls. seed: makes the ids
    of calls that have none.
    """
    if form.is_object:
        found = _objects(form, text)
    elif form.call == PYTHONIC["call"]:
        found = _python(form, text)
    else:
        found = _named(form, text, functions)
    calls = []
    for name, arguments, call_id in found:
        if isinstance(arguments, dict) and name in functions:
            made = hashlib.blake2b(seed + len(calls).to_bytes(4, "little")).hexdigest()[:9]
            calls.append(ToolCall(name, arguments, call_id or made))
    return calls


_Found = Iterator[tuple[str, Any, str]]


def _objects(form: Format, text: str) -> _Found:
    """JSON objects behind the notation's opening, or a reply that is nothing else."""
    marker = (form.before + form.call.partition("{")[0]).rstrip("[ \n")
    start = text.find(marker) + len(marker)
    if marker and start < len(marker):
        return
    if not marker:
        text = text.strip().removeprefix("<|python_tag|>").lstrip()
        if not text.startswith(("{", "[")):
            return
        start = 0
    while (start := text.find("{", start)) >= 0:
        try:
            value, start = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            return
        if isinstance(value, dict):
            name = value.get("name", value.get("tool_name"))
            arguments = value.get("arguments", value.get("parameters"))
            if isinstance(arguments, str):  # as OpenAI's API has them
                arguments = _loads(arguments)
            if isinstance(name, str):
                yield name, arguments, value.get("id") if isinstance(value.get("id"), str) else ""


def _named(form: Format, text: str, functions: Mapping[str, Any]) -> _Found:
    """A name in the notation's own syntax, then a JSON object or parameters one by one."""
    head, tail = form.call.split(ARGUMENTS)
    if form.reads:
        starts = re.compile(form.reads)
    elif not head.startswith(NAME):
        starts = re.compile(_pattern(head))
    else:  # nothing but what stands between calls tells where one begins
        starts = re.compile(rf"(?:^|{re.escape(form.between)})\s*{_pattern(head)}")
    at = 0
    while match := starts.search(text, at):
        at = match.end()
        groups = match.groupdict()
        if form.parameter:
            end = text.find(tail.strip(), at)
            if end < 0:
                return
            schema = functions.get(groups["name"], {})
            yield groups["name"], _parameters(form, text[at:end], schema), ""
            at = end
            continue
        try:
            arguments, at = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            continue
        yield groups["name"], arguments, groups.get("id") or ""


def _pattern(literal: str) -> str:
    """A regular expression for a part of a notation; white space may be of any kind."""
    pattern = re.sub(r"(\\?\s)+", r"\\s*", re.escape(literal))
    pattern = pattern.replace(NAME, f"(?P<name>{IDENTIFIER})").replace(INDEX, r"\d+")
    return pattern.replace(ID, r"(?P<id>\w+)") + r"\s*"


def _parameters(form: Format, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """One by one; a text stands as it is, everything else as JSON."""
    if form.quote:
        return _bare(form.quote, text)
    before, after = form.parameter.split(VALUE)
    pattern = _pattern(before).replace(KEY, f"(?P<key>{IDENTIFIER})").removesuffix(r"\s*")
    pattern = pattern.replace(IS_TEXT, "(?P<is_text>true|false)")
    ends = re.escape(after.strip())
    found = {}
    for match in re.finditer(rf"{pattern}(?P<value>(?s:.*?))\s*{ends}", text):
        value = _loads(match["value"])
        plain = value is None and match["value"] != "null"
        if IS_TEXT in form.parameter:
            plain |= match["is_text"] == "true"
        else:
            plain |= is_text(schema.get("properties", {}).get(match["key"], {}))
        if plain:
            value = match["value"]
        found[match["key"]] = value
    return found


def _bare(quote: str, text: str) -> Any:
    """key:value,… with strings between quotes of the notation's own and names between none."""
    parts = text.split(quote)
    for i, part in enumerate(parts):
        if i % 2:
            parts[i] = json.dumps(part)
        else:
            part = re.sub(rf"({IDENTIFIER})\s*:", r'"\1":', part)
            parts[i] = re.sub(r"\bNone\b", "null", part)
    return _loads("{" + "".join(parts) + "}")


def is_text(schema: Any) -> bool:
    """Whether a parameter can only be a string."""
    if not isinstance(schema, Mapping):
        return False
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        return all(isinstance(value, str) for value in values)
    return schema.get("type") == "string"


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _python(form: Format, text: str) -> _Found:
    """[f(a=1), g(b="x")], constants as Python or JSON writes them."""
    opening, closing = form.before.removesuffix("["), form.after.removeprefix("]")
    if opening:
        text = text.partition(opening)[2].partition(closing)[0]
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for call in tree.elts if isinstance(tree, ast.List) else [tree]:
        if not isinstance(call, ast.Call) or call.args:
            continue
        try:
            arguments = {word.arg: _constant(word.value) for word in call.keywords if word.arg}
        except ValueError:
            continue
        yield ast.unparse(call.func), arguments, ""


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_constant(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_constant(key): _constant(value) for key, value in pairs if key is not None}
    return ast.literal_eval(node)
