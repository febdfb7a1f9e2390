"""Values in notations that are not JSON's: strings between quotes of their own, names between none.

    {city:<|"|>Ulm<|"|>,days:[1,2],at:{hour:7}}

From a schema follows a rule of a Lark grammar, as far as keywords go that say what such a text can
show; others are refused by name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Set
from typing import Any

from genfast.errors import GrammarError
from genfast.grammar import literal
from genfast.tool_formats import IDENTIFIER

_NOTES = {"title", "description", "default", "examples", "deprecated", "$defs", "definitions"}
_NUMBER = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_KEYWORDS = {
    "string": {"minLength", "maxLength"},
    "number": _NUMBER,
    "integer": _NUMBER,
    "boolean": set(),
    "null": set(),
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
}
# Whatever fits the notation; {string} is filled in.
_ANYTHING = {
    "value": '{string} | NUMBER | "true" | "false" | "null" | list | "{{" members "}}"',
    "list": '"[" ( value ("," value)* )? "]"',
    "members": '( pair ("," pair)* )?',
    "pair": 'NAME ":" value',
    "NUMBER": r"/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/",
    "NAME": r"/[A-Za-z_][A-Za-z0-9_.\-]*/",
}


def listed(rules: Mapping[str, str], required: Set[str], comma: str) -> str:
    """All that is required and any of the others, in this order, with commas between."""
    later = [
        f"{comma} {rule}" if key in required else f"({comma} {rule})?"
        for key, rule in rules.items()
    ]
    starts = []
    for i, (key, rule) in enumerate(rules.items()):
        starts.append(" ".join([rule, *later[i + 1 :]]))
        if key in required:
            return f"({' | '.join(starts)})"
    return f"({' | '.join(starts)})?" if starts else ""


class BareValues:
    """The values of one function. rule: adds a rule and gives its name. string: one with its
    quotes, of what a regular expression matches. prefix: of the names of its own rules. where: for
    errors."""

    def __init__(
        self,
        rule: Callable[[str, str], str],
        string: Callable[[str, str], str],
        prefix: str,
        where: str,
        root: Mapping[str, Any],
    ) -> None:
        self._rule = rule
        self._string = string
        self._prefix = prefix
        self._where = where
        self._root = root
        self._named: dict[str, str] = {}  # $ref → its rule

    def members(self, schema: Mapping[str, Any]) -> str:
        """What stands between the braces of an object."""
        self._only(schema, _KEYWORDS["object"] | {"type"})
        properties = schema.get("properties", {})
        if not properties and schema.get("additionalProperties", True) is not False:
            return self._anything("members")
        required = set(schema.get("required", ()))
        rules = {}
        for key, each in sorted(properties.items()):  # as Gemma's template sorts them
            if not re.fullmatch(IDENTIFIER, key):
                raise GrammarError(f"{self._where}: {key!r:.60} is no name that can be written")
            rules[key] = f"{json.dumps(key + ':')} {self.value(each)}"
        return listed(rules, required, '","')

    def value(self, schema: Any) -> str:
        if not isinstance(schema, Mapping) or not set(schema) - _NOTES:
            return self._anything("value")
        for key in ("anyOf", "oneOf"):
            if key in schema:
                self._only(schema, {key})
                return f"({' | '.join(map(self.value, schema[key]))})"
        if "$ref" in schema:
            self._only(schema, {"$ref"})
            return self._reference(schema["$ref"])
        if "enum" in schema or "const" in schema:
            self._only(schema, {"enum", "const", "type"})
            values = [schema["const"]] if "const" in schema else schema["enum"]
            return f"({' | '.join(map(self._constant, values))})"
        kinds = schema.get("type", list(_KEYWORDS))
        kinds = [kinds] if isinstance(kinds, str) else kinds
        self._only(schema, set().union({"type"}, *(_KEYWORDS[kind] for kind in kinds)))
        return f"({' | '.join(self._kind(kind, schema) for kind in kinds)})"

    def _kind(self, kind: str, schema: Mapping[str, Any]) -> str:
        if kind == "string":
            least, most = schema.get("minLength", 0), schema.get("maxLength", "")
            return self._string(f"string_{least}_{most}", f"(?s:.{{{least},{most}}})")
        if kind == "object":
            mine = {key: schema[key] for key in _KEYWORDS["object"] if key in schema}
            return f'"{{" {self.members(mine)} "}}"'
        if kind == "array":
            item = self.value(schema.get("items", True))
            least, most = schema.get("minItems", 0), schema.get("maxItems")
            if most == 0:
                return '"[]"'
            more = f'("," {item}){{{max(least - 1, 0)},{"" if most is None else most - 1}}}'
            return f'"[" ({item} {more}){"" if least else "?"} "]"'
        numbers = {key: schema[key] for key in _NUMBER if key in schema}
        body = "%json " + json.dumps({"type": kind, **numbers}, sort_keys=True)
        digest = hashlib.blake2b(body.encode(), digest_size=8).hexdigest()
        return self._rule(f"{kind}_{digest}", body)

    def _constant(self, value: Any) -> str:
        if isinstance(value, str):
            return self._string(f"string_{value.encode().hex()}", literal(value))
        if value is None or isinstance(value, bool | int | float):
            return json.dumps(json.dumps(value))
        raise GrammarError(f"{self._where}: {value!r:.60} cannot be written as a constant")

    def _reference(self, ref: str) -> str:
        if ref not in self._named:
            schema: Any = self._root
            for part in ref.removeprefix("#").split("/")[1:]:
                schema = schema[part]
            name = self._named[ref] = f"{self._prefix}_{len(self._named)}"
            self._rule(name, self.value(schema))
        return self._named[ref]

    def _anything(self, name: str) -> str:
        string = self._string("string_0_", "(?s:.{0,})")
        for rule, body in _ANYTHING.items():
            self._rule(rule, body.format(string=string) if rule == "value" else body)
        return name

    def _only(self, schema: Mapping[str, Any], keywords: Set[str]) -> None:
        for key in schema:
            if key not in keywords | _NOTES:
                raise GrammarError(
                    f"{self._where}: {key!r} cannot be followed in this notation "
                    '("strict": false beside the name lets any JSON object pass)'
                )
