"""A server for the tests of a module, and OpenAI's own description of what it must answer."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from running import running

SPEC = Path(__file__).resolve().parents[3] / "shared/data/suites/openai-openapi/openapi.json.gz"


@pytest.fixture(scope="module")
def server():
    with running() as server:
        yield server


@pytest.fixture
def conforms():
    """Checks that a value is what OpenAI's document calls by a name."""
    if not SPEC.is_file():
        pytest.skip("no ../shared/data beside the repository")

    def check(name: str, value: Any) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": _components()}
        jsonschema.Draft202012Validator(schema).validate(value)

    return check


@lru_cache(maxsize=1)
def _components() -> Any:
    return _with_nulls(json.loads(gzip.decompress(SPEC.read_bytes()))["components"])


def _with_nulls(value: Any) -> Any:
    """The document says `nullable` in places, which JSON Schema does not know."""
    if isinstance(value, list):
        return [_with_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _with_nulls(item) for key, item in value.items()}
    if made.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made
