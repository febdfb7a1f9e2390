"""oneOf becomes anyOf where no value can match two branches, and only there."""

from __future__ import annotations

import itertools
import json

import jsonschema
import pytest

import genfast
from genfast.one_of import without_one_of


def tagged(tag, **properties):
    return {
        "type": "object",
        "properties": {"kind": {"const": tag}, **properties},
        "required": ["kind"],
    }


CAT, DOG = tagged("cat", lives={"type": "integer"}), tagged("dog", tricks={"type": "array"})
DISJOINT = {
    "references": {
        "$defs": {"cat": CAT, "dog": DOG},
        "oneOf": [{"$ref": "#/$defs/cat"}, {"$ref": "#/$defs/dog"}, {"type": "null"}],
    },
    "what stands beside": {
        "type": "object",
        "required": ["a"],
        "oneOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"a": {"const": 2}}}],
    },
    "nested tags": {
        "oneOf": [
            {"type": "object", "properties": {"x": CAT}, "required": ["x"]},
            {"type": "object", "properties": {"x": DOG}},
        ]
    },
    "numbers": {"oneOf": [{"type": "integer", "maximum": 3}, {"type": "number", "minimum": 4}]},
    "borders": {
        "type": "number",
        "oneOf": [{"minimum": 4}, {"exclusiveMaximum": 4}],
    },
    "lengths": {"oneOf": [{"type": "string", "maxLength": 2}, {"type": "string", "minLength": 3}]},
    "counts": {"oneOf": [{"type": "array", "maxItems": 1}, {"type": "array", "minItems": 2}]},
    "constants": {"oneOf": [{"const": 1}, {"const": True}, {"const": {"a": 1}}, {"enum": [[], 2]}]},
    "a constant that a type excludes": {"oneOf": [{"const": "a"}, {"type": "integer"}]},
    "alternatives": {
        "oneOf": [{"anyOf": [{"type": "string"}, {"const": 1}]}, {"anyOf": [{"const": 2}]}]
    },
    "all of": {"oneOf": [{"allOf": [{}, CAT]}, {"allOf": [DOG, {"minProperties": 1}]}]},
    "no other names": {
        "oneOf": [
            {"type": "object", "properties": {"a": {}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {}}, "additionalProperties": False},
        ]
    },
}
OVERLAPPING = {
    "an integer is a number": [{"type": "integer"}, {"type": "number"}],
    "one is 1.0": [{"const": 1}, {"enum": [1.0]}],
    "a border of both": [{"type": "number", "maximum": 4}, {"type": "number", "minimum": 4}],
    "an absent tag": [{"properties": {"a": {"const": 1}}}, {"properties": {"a": {"const": 2}}}],
    "no objects": [
        {"properties": {"a": {"const": 1}}, "required": ["a"]},
        {"properties": {"a": {"const": 2}}, "required": ["a"]},
    ],
    "an outer reference": [{"$ref": "https://example.org/a"}, {"type": "string"}],
    "everything": [True, True],
    "empty arrays": [
        {"type": "array", "items": {"const": 1}},
        {"type": "array", "items": {"const": 2}},
    ],
}


@pytest.mark.parametrize("name", DISJOINT)
def test_disjoint_branches_are_alternatives(name):
    schema = DISJOINT[name]
    new = without_one_of(schema)
    assert "oneOf" not in new and new["anyOf"] == schema["oneOf"]
    assert {k: v for k, v in new.items() if k != "anyOf"} == {
        k: v for k, v in schema.items() if k != "oneOf"
    }


@pytest.mark.parametrize("name", OVERLAPPING)
def test_others_stay(name):
    schema = json.loads(json.dumps({"oneOf": OVERLAPPING[name]}).replace("1.0", "1"))
    assert without_one_of(schema) == schema


def test_beside_any_of_both_hold():
    schema = {"anyOf": [{"type": "string"}], "oneOf": [{"const": "a"}, {"const": "b"}]}
    assert without_one_of(schema) == {
        "anyOf": [{"type": "string"}],
        "allOf": [{"anyOf": [{"const": "a"}, {"const": "b"}]}],
    }


def test_it_is_found_wherever_schemas_stand_and_nowhere_else():
    one_of = {"oneOf": [{"const": 1}, {"const": 2}]}
    any_of = {"anyOf": [{"const": 1}, {"const": 2}]}

    def around(inner):
        return {
            "$defs": {"d": inner},
            "properties": {"oneOf": inner, "p": {"items": inner, "additionalProperties": inner}},
            "allOf": [inner, {"not": inner}],
            "prefixItems": [inner],
            "const": one_of,
            "default": one_of,
        }

    assert without_one_of(around(one_of)) == around(any_of)


def test_a_reference_within_another_resource_proves_nothing():
    schema = {
        "$defs": {
            "a": {"type": "string"},
            "b": {"$id": "b", "oneOf": [{"$ref": "#/$defs/a"}, {"type": "integer"}]},
        }
    }
    assert without_one_of(schema) == schema


def test_references_in_circles_come_to_an_end():
    schema = {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}},
        "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
    }
    assert without_one_of(schema) == schema


# --- against a validator -------------------------------------------------------------------------

SCALARS = [None, True, False, 0, 1, 2, 1.5, -3, "", "a", "bb", "ccc"]
VALUES = [
    *SCALARS,
    *([x] for x in (0, "a", 1.5)),
    [],
    [1, 2],
    *({"k": x} for x in SCALARS),
    *({"k": x, "l": y} for x, y in itertools.product((1, "a", True), (2, "bb"))),
    {},
    {"l": 1},
    {"k": {"k": 1}},
    {"k": {"k": "a"}},
]


def random_schema(rng, depth=2):
    """Of the keywords that a proof looks at."""
    schema = {}
    scalars = [None, True, False, 0, 1, 2, 1.5, "a", "bb"]

    def some(items, most):
        return [items[i] for i in rng.choice(len(items), rng.integers(1, most + 1), replace=False)]

    if rng.random() < 0.6:
        kinds = ["null", "boolean", "integer", "number", "string", "array", "object"]
        schema["type"] = some(kinds, 2) if rng.random() < 0.3 else some(kinds, 1)[0]
    if rng.random() < 0.2:
        schema["const"] = some(scalars, 1)[0]
    elif rng.random() < 0.3:
        schema["enum"] = some(scalars, 3)
    for key in ("minimum", "exclusiveMaximum", "maximum", "exclusiveMinimum"):
        if rng.random() < 0.15:
            schema[key] = int(rng.integers(-1, 3))
    for key in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"):
        if rng.random() < 0.1:
            schema[key] = int(rng.integers(0, 3))
    if depth and rng.random() < 0.6:
        schema["properties"] = {k: random_schema(rng, depth - 1) for k in some(["k", "l"], 2)}
        if rng.random() < 0.7:
            schema["required"] = some(["k", "l"], 2)
        if rng.random() < 0.2:
            schema["additionalProperties"] = False
    for key in ("allOf", "anyOf", "oneOf"):
        if depth and rng.random() < 0.12:
            schema[key] = [random_schema(rng, depth - 1) for _ in range(2)]
    if rng.random() < 0.1:
        schema = {"$ref": f"#/$defs/{rng.integers(2)}"}
    return schema


def test_what_is_proved_holds(rng):
    """No value of many matches two branches of a oneOf that became an anyOf."""
    proved = 0
    for _ in range(1500):
        schema = {
            **random_schema(rng, 1),
            "$defs": {str(i): random_schema(rng, 1) for i in range(2)},
            "oneOf": [random_schema(rng) for _ in range(2)],
        }
        new = without_one_of(schema)
        if "oneOf" in new:
            continue
        proved += 1
        try:
            for value in VALUES:
                before = jsonschema.Draft202012Validator(schema).is_valid(value)
                assert jsonschema.Draft202012Validator(new).is_valid(value) == before, (
                    json.dumps(schema),
                    value,
                )
        except RecursionError:  # a reference to itself
            continue
    assert proved > 100


def test_generation_follows(rng):
    schema = DISJOINT["references"]
    with genfast.load() as model:
        for seed in range(6):
            out = model.generate(
                "So", json_schema=schema, temperature=1.5, seed=seed, max_tokens=80
            )
            if out.finish_reason == "stop":
                jsonschema.validate(json.loads(out.text), schema)
