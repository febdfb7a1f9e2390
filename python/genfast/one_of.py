"""oneOf, where no value can match two of its branches: there it means anyOf, which a grammar can
follow.

llguidance proves this for branches that are written out and differ by type or by a constant. Here
references are followed, bounds are compared, and what stands beside oneOf counts for every branch.
Only what is proved is changed; the rest is refused as before.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SINGLE = (
    "items",
    "additionalProperties",
    "additionalItems",
    "contains",
    "not",
    "if",
    "then",
    "else",
)
_NUMBERS = {"integer", "fraction"}
_TYPES = frozenset({"null", "boolean", "object", "array", "string", *_NUMBERS})
_SIZES = {  # what bounds a value of this type
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_DEPTH = 6  # of references and properties that a proof follows


def without_one_of(schema: Any) -> Any:
    """The schema with every oneOf that is proved to be an anyOf written as one. Numbers in it are
    written in one way: 1 and not 1.0."""
    return _Proof(schema).rewritten(schema)


class _Proof:
    def __init__(self, root: Any) -> None:
        self._root = root
        inner = {key: value for key, value in root.items() if key != "$id"} if root else {}
        self._refers_within = '"$id"' not in json.dumps(inner)

    def rewritten(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        new = dict(schema)
        for key in _MAPS:
            if isinstance(schema.get(key), Mapping):
                new[key] = {name: self.rewritten(each) for name, each in schema[key].items()}
        for key in _LISTS:
            if isinstance(schema.get(key), list):
                new[key] = [self.rewritten(each) for each in schema[key]]
        for key in _SINGLE:
            if isinstance(schema.get(key), Mapping):
                new[key] = self.rewritten(schema[key])
        branches = schema.get("oneOf")
        if isinstance(branches, list) and len(branches) > 1:
            rest = {key: value for key, value in schema.items() if key != "oneOf"}
            pairs = combinations(branches, 2)
            if all(self._disjoint([rest, one], [rest, other], _DEPTH) for one, other in pairs):
                either = {"anyOf": new.pop("oneOf")}
                if "anyOf" in new:
                    new["allOf"] = [*new.get("allOf", []), either]
                else:
                    new |= either
        return new

    def _disjoint(self, ones: Sequence[Any], others: Sequence[Any], depth: int) -> bool:
        """Whether no value matches all of `ones` and all of `others`. False: not proved."""
        if depth == 0:
            return False
        one, other = self._parts(ones, depth), self._parts(others, depth)
        for mine, theirs in ((one, other), (other, one)):
            values = _values(mine)
            if values is not None and not any(_may_be(value, theirs) for value in values):
                return True
            for part in mine:
                for keyword in ("anyOf", "oneOf"):
                    branches = part.get(keyword)
                    if isinstance(branches, list) and all(
                        self._disjoint([branch], theirs, depth - 1) for branch in branches
                    ):
                        return True
        return all(
            self._disjoint_as(kind, one, other, depth) for kind in _types(one) & _types(other)
        )

    def _parts(self, schemas: Sequence[Any], depth: int) -> list[Mapping[str, Any]]:
        """What all must hold. What stands beside a $ref is left: some drafts ignore it."""
        parts: list[Mapping[str, Any]] = []
        for schema in schemas:
            if schema is False:
                parts.append({"enum": []})
            if not isinstance(schema, Mapping):
                continue
            if "$ref" in schema:
                if depth > 0:
                    parts += self._parts([self._referred(schema["$ref"])], depth - 1)
                continue
            parts.append(schema)
            if isinstance(schema.get("allOf"), list):
                parts += self._parts(schema["allOf"], depth)
        return parts

    def _referred(self, ref: Any) -> Any:
        """Within this schema; None where that is not certain."""
        if not isinstance(ref, str) or not re.fullmatch(r"#(/[^/%]*)*", ref):
            return None
        target = self._root if self._refers_within else None
        for part in ref.split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            target = target.get(part) if isinstance(target, Mapping) else None
        return target

    def _disjoint_as(
        self,
        kind: str,
        one: Sequence[Mapping[str, Any]],
        other: Sequence[Mapping[str, Any]],
        depth: int,
    ) -> bool:
        """Whether no value of this type matches both."""
        low, high = _bounds(kind, [*one, *other])
        if low > high:
            return True
        if kind in _NUMBERS:
            return low == high and any(low in _excluded(part) for part in [*one, *other])
        if kind != "object":
            return False
        for mine, theirs in ((one, other), (other, one)):
            for name in _required(mine):
                if _closed_to(name, theirs):
                    return True
                values = _of_property(name, mine), _of_property(name, theirs)
                if all(values) and self._disjoint(*values, depth - 1):
                    return True
        return False


# --- what a schema says -------------------------------------------------------------------------


def _bounds(kind: str, parts: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    least, most = _SIZES.get(kind, ("minimum", "maximum"))
    lows, highs = [-math.inf], [math.inf]
    if kind in (*_NUMBERS, *_SIZES):
        for part in parts:
            lows += [part[key] for key in (least, f"exclusive{_upper(least)}") if key in part]
            highs += [part[key] for key in (most, f"exclusive{_upper(most)}") if key in part]
    numbers = [x for x in lows if _is_number(x)], [x for x in highs if _is_number(x)]
    return max(numbers[0]), min(numbers[1])


def _excluded(part: Mapping[str, Any]) -> list[Any]:
    bounds = (part.get("exclusiveMinimum"), part.get("exclusiveMaximum"))
    return [bound for bound in bounds if _is_number(bound)]


def _upper(word: str) -> str:
    return word[0].upper() + word[1:]


def _required(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for part in parts:
        if isinstance(part.get("required"), list):
            yield from (name for name in part["required"] if isinstance(name, str))


def _closed_to(name: str, parts: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        part.get("additionalProperties") is False
        and "patternProperties" not in part
        and name not in part.get("properties", {})
        for part in parts
    )


def _of_property(name: str, parts: Sequence[Mapping[str, Any]]) -> list[Any]:
    found = (part.get("properties") for part in parts)
    return [each[name] for each in found if isinstance(each, Mapping) and name in each]


def _types(parts: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    types = _TYPES
    for part in parts:
        named = part.get("type")
        if named is not None:
            named = {named} if isinstance(named, str) else set(named)
            types &= named | _NUMBERS if "number" in named else named
        values = _values([part])
        if values is not None:
            types &= {_type_of(value) for value in values}
    return types


def _values(parts: Sequence[Mapping[str, Any]]) -> list[Any] | None:
    """The values of a const or enum."""
    for part in parts:
        if "const" in part:
            return [part["const"]]
        if isinstance(part.get("enum"), list):
            return part["enum"]
    return None


def _may_be(value: Any, parts: Sequence[Mapping[str, Any]]) -> bool:
    if _type_of(value) not in _types(parts):
        return False
    for part in parts:
        allowed = _values([part])
        if allowed is not None and not any(_same(value, each) for each in allowed):
            return False
    low, high = _bounds(_type_of(value), parts) if _is_number(value) else (-math.inf, math.inf)
    return not _is_number(value) or low <= value <= high


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if _is_number(value):
        return "integer" if float(value).is_integer() else "fraction"
    return {str: "string", list: "array"}.get(type(value), "object")
