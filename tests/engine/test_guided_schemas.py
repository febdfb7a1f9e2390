"""json_schema against the official test suite: what is generated validates, or a keyword is named.

A schema that guided output cannot follow to the letter is refused. So for each schema of the suite
there are two ways to pass: a GrammarError that says what is in the way, or answers that an
independent validator takes.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

import genfast

SUITE = Path(__file__).resolve().parents[3] / "shared/data/suites/JSON-Schema-Test-Suite/tests"
VALIDATORS = {
    "draft2020-12": jsonschema.Draft202012Validator,
    "draft7": jsonschema.Draft7Validator,
}
# Everything else that a schema may hold is either followed or only describes.
NAMED = re.compile(
    r"contains|[a-z]+Contains|dependencies|dependent[A-Z][a-z]+|\$dynamic[A-Z][a-z]+"
    r"|\"(if|then|else|not)\"|propertyNames|unevaluated[A-Z][a-z]+|uniqueItems|format|oneOf|patternProperty|multipleOf"
    r"|\$ref|\$anchor|Anchor|schema is false|anyOf is empty|is false"
)


@pytest.fixture(scope="module")
def model():
    with genfast.load() as model:
        yield model


@pytest.fixture(scope="module")
def closing(model):
    """A bias for what ends strings, arrays and objects: answers come to an end."""
    ids = range(model.vocab_size)
    texts = {i: model.tokenizer.decode([i]) for i in ids}
    return {i: 5.0 for i, text in texts.items() if text in ('"', "}", "]", '",', '"}', '"]')}


def groups(draft: str):
    for file in sorted((SUITE / draft).glob("*.json")):
        for group in json.loads(file.read_text()):
            schema = group["schema"]
            if isinstance(schema, dict) and draft == "draft7":
                schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
            yield f"{file.stem}: {group['description']}", schema


@pytest.mark.slow
@pytest.mark.skipif(not SUITE.is_dir(), reason="no ../shared/data beside the repository")
@pytest.mark.parametrize("draft", VALIDATORS)
def test_what_is_generated_validates_or_the_keyword_is_named(model, closing, rng, draft):
    validator = VALIDATORS[draft]
    followed = refused = complete = 0
    for name, schema in groups(draft):
        options = {"json_schema": json.dumps(schema), "temperature": 1.5, "max_tokens": 60}
        seed = int(rng.integers(2**32))
        try:
            out = model.generate("So", n=3, seed=seed, logit_bias=closing, **options)
        except genfast.GrammarError as error:
            assert NAMED.search(str(error)), (name, str(error))
            refused += 1
            continue
        followed += 1
        for choice in out.choices:
            assert choice.finish_reason in ("stop", "length"), (name, seed, choice)
            if choice.finish_reason == "stop":
                complete += 1
                value = json.loads(choice.text)
                assert is_valid(validator, schema, value), (name, seed, choice.text)
    print(f"{draft}: {followed} schemas followed, {refused} refused, {complete} answers complete")
    assert followed > 160 and complete > followed


def is_valid(validator, schema, value) -> bool:
    try:
        return validator(schema, format_checker=validator.FORMAT_CHECKER).is_valid(value)
    except re.error:  # \p{…} is ECMA's; Python's `re`, which jsonschema uses, does not know it
        return "\\p" in json.dumps(schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"uniqueItems": True}}}, r'"uniqueItems" \(at #/properties/a/'),
        ({"not": {"type": "null"}}, r'"not" \(at #/not\)'),
        ({"if": {}, "then": {}}, r'"if".*"then"'),
        ({"type": "string", "format": "regex"}, "format 'regex'"),
        ({"$ref": "https://example.org/schema"}, r"\$ref.*https://example.org/schema"),
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, r'"oneOf" \(at #/oneOf\)'),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum.*maximum"),
        ({"type": "word"}, "word"),
        (False, "false"),
        ('{"type": ', "line 1 column 10"),
    ],
)
def test_what_cannot_be_followed_is_named(model, schema, words):
    schema = schema if isinstance(schema, str) else json.dumps(schema)
    with pytest.raises(genfast.GrammarError, match=words):
        model.generate("So", json_schema=schema)
