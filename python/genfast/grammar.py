"""What `json_schema`, `regex`, `grammar` and `choices` ask for, as llguidance reads it.

Here the keywords are checked and translated; `guided` runs them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from genfast.errors import GrammarError
from genfast.one_of import without_one_of

KEYWORDS = ("json_schema", "regex", "grammar", "choices")

# Where JSON allows white space: a space, or a new line and its indentation. Any amount of it would
# be valid too, but a model that does not know what to say writes white space for ever.
JSON_OPTIONS = {"whitespace_pattern": r" |\r?\n[ \t]{0,32}"}


@dataclass(frozen=True)
class Grammar:
    """keyword: who asked for it. text: as llguidance reads it. source: as the caller gave it."""

    keyword: str
    text: str
    source: str


def need_llguidance() -> Any:
    """The llguidance package, or an ImportError that says how to get it."""
    try:
        import llguidance
    except ImportError as error:
        raise ImportError(
            f"guided output ({', '.join(KEYWORDS)}) needs the llguidance package: "
            "pip install 'genfast[guided]'"
        ) from error
    return llguidance


def grammar_of(sampling: Any) -> Grammar | None:
    """The grammar that one of the sampling's keywords asks for."""
    keyword = next((k for k in KEYWORDS if getattr(sampling, k) is not None), None)
    if keyword is None:
        return None
    source = getattr(sampling, keyword)
    matcher = need_llguidance().LLMatcher
    if keyword == "json_schema":
        text = matcher.grammar_from_json_schema(source, overrides=JSON_OPTIONS)
    elif keyword == "grammar":
        text = matcher.grammar_from_lark(source)
    elif keyword == "regex":
        text = matcher.grammar_from_regex(source)
    else:
        text = matcher.grammar_from_regex("|".join(map(literal, source)))
        source = json.dumps(source)
    return Grammar(keyword, text, source)


def literal(text: str) -> str:
    """A regular expression that matches this text alone."""
    return "".join(c if c.isascii() and c.isalnum() else f"\\x{{{ord(c):x}}}" for c in text)


# --- the keywords as callers give them --------------------------------------------------------


def check_json_schema(name: str, value: Any) -> str:
    """The schema as JSON text, as far as can be without oneOf. True and "json" stand for any JSON
    value."""
    if value == "json":
        value = True
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise GrammarError(f"{name} is no JSON text: {error}") from None
    if value is False:
        raise GrammarError(f"{name} is false, which no value matches")
    if value is True:
        return "{}"
    if not isinstance(value, Mapping):
        raise _bad(name, value, "a JSON schema (a dict, or its JSON text), or True for any JSON")
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} cannot be written as JSON: {error}") from None
    # A schema may say 2.0 where a count is meant, and JSON knows no difference.
    return json.dumps(without_one_of(json.loads(text, parse_float=_plain_number)))


def _plain_number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def check_text(name: str, value: Any) -> str:
    """A regular expression, or a Lark grammar."""
    if not isinstance(value, str) or not value:
        raise _bad(name, value, "a non-empty string")
    _need_unicode(name, value)
    return value


def check_choices(name: str, value: Any) -> tuple[str, ...]:
    allowed = "a list of non-empty strings"
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _bad(name, value, allowed)
    choices = tuple(value)
    for choice in choices:
        if not isinstance(choice, str) or not choice:
            raise _bad(name, choice, allowed)
        _need_unicode(name, choice)
    if not choices:
        raise _bad(name, value, allowed)
    return tuple(dict.fromkeys(choices))


def _need_unicode(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds a lone surrogate at position {error.start}") from None


def _bad(name: str, value: Any, allowed: str) -> ValueError:
    return ValueError(f"{name}={value!r:.80} is not allowed; allowed: {allowed}")


# --- what llguidance says of a grammar, in words of the caller's --------------------------------


def grammar_error(grammar: Grammar, message: str) -> GrammarError:
    """For a grammar that does not compile: where, or which keyword of a schema."""
    message = message.split("\n<state>")[0].strip()
    if grammar.keyword == "json_schema":
        return GrammarError(f"json_schema: {_of_schema(json.loads(grammar.source), message)}")
    if grammar.keyword == "grammar":
        return GrammarError(f"grammar: {_placed(message)}")
    return GrammarError(f"{grammar.keyword}: {_of_regex(message)}")


def _placed(message: str) -> str:
    """llguidance writes line(column), and shows the line."""
    return re.sub(r"^(?:at )?(\d+)\((\d+)\): ", r"line \1, column \2: ", message.split("\n")[0])


def _of_regex(message: str) -> str:
    """Without the grammar that llguidance puts a regular expression into."""
    message = message.partition("(in regex): ")[2] or message
    shown = re.match(r"regex parse error:\n    .*\n    ( *)\^+\nerror: (.*)", message)
    if shown:
        return f"column {len(shown[1]) + 1}: {shown[2]}"
    return message.split("; ")[0].split("\n")[0]


def _of_schema(schema: Any, message: str) -> str:
    unknown = re.match(r"Unimplemented keys: (\[.*\])", message)
    if unknown:
        found = [_where(schema, key) for key in json.loads(unknown[1])]
        return f"{', '.join(found)}: guided output does not support this keyword"
    form = re.match(r"Unknown format: (.*)", message)
    if form:
        return f"format {form[1]!r}: guided output does not support this format"
    resource = re.match(r"Resource '([^']*)'", message)
    if resource:
        return f'"$ref" to {resource[1]!r}: only what the schema itself holds can be referred to'
    if message.startswith("Anchor "):
        return f'"$ref": {message}'
    if message.startswith("oneOf constraints"):
        return (
            f"{_where(schema, 'oneOf')}: supported only where it is plain that no value matches "
            "two of its branches; anyOf takes any of them"
        )
    return message


def _where(schema: Any, keyword: str) -> str:
    """The keyword, and a JSON pointer to the first place it stands at."""
    path = next(_places(schema, keyword, ""), None)
    return f'"{keyword}"' if path is None else f'"{keyword}" (at #{path})'


def _places(schema: Any, keyword: str, path: str) -> Iterator[str]:
    if isinstance(schema, dict):
        if keyword in schema:
            yield f"{path}/{keyword}"
        for key, value in schema.items():
            yield from _places(value, keyword, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from _places(value, keyword, f"{path}/{index}")
