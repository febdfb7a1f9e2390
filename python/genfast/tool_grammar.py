"""The grammar of a reply that calls tools: the notation of the model's family, and in it arguments
that match their schemas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from genfast.grammar import JSON_OPTIONS, literal
from genfast.tokenizer import Tokenizer
from genfast.tool_calls import is_text
from genfast.tool_formats import (
    ARGUMENTS,
    IS_TEXT,
    KEY,
    NAME,
    PATTERNS,
    TEXT,
    VALUE,
    Format,
)
from genfast.tool_values import BareValues, listed

_ANY = "(?s:.*)"


def tool_grammar(
    form: Format,
    functions: Mapping[str, Any],
    tokenizer: Tokenizer,
    *,
    free: bool,
    several: bool,
) -> str:
    """In Lark. functions: the schemas of their parameters, by name. free: the reply may be a text,
    and calls may follow one. several: of calls, one behind the other."""
    return _Writer(form, functions, tokenizer).write(free, several)


class _Writer:
    def __init__(self, form: Format, functions: Mapping[str, Any], tokenizer: Tokenizer) -> None:
        self._form = form
        self._functions = functions
        self._rules: list[str] = []
        names = {tokenizer.id_to_token(i): i for i in tokenizer.special_ids}
        self._ends = frozenset(tokenizer.eos_ids)
        self._special = {name: i for name, i in names.items() if name}
        longest_first = sorted([*self._special, *PATTERNS], key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})")

    def write(self, free: bool, several: bool) -> str:
        form = self._form
        head = form.call.partition(NAME)[0]
        for index, (name, schema) in enumerate(self._functions.items()):
            self._rule(f"call_{index}", self._call(index, name, schema))
        any_call = " | ".join(f"call_{index}" for index in range(len(self._functions)))
        self._rule("call", any_call)
        more = f"({self._text(form.between + head)} call)*" if several else ""
        self._rule("opened", f"call {more} {self._text(form.after)}")
        calls = f"{self._text(form.opening)} opened"
        return "\n".join([f"start: {self._free(calls) if free else calls}", *self._rules])

    def _rule(self, name: str, body: str) -> str:
        rule = f"{name}: {body}"
        if rule not in self._rules:
            self._rules.append(rule)
        return name

    def _call(self, index: int, name: str, schema: Any) -> str:
        """From the name on: what comes before it is the same for all."""
        before, after = self._form.call.partition(NAME)[2].split(ARGUMENTS)
        if self._form.parameter:
            arguments = self._parameters(index, name, schema)
        else:
            arguments = self._rule(f"arguments_{index}", _json(schema))
        return f"{self._text(name + before)} {arguments} {self._text(after)}"

    # --- text around the calls --------------------------------------------------------------------

    def _free(self, calls: str) -> str:
        """A text, or calls, or one before the others. What opens like a call is one."""
        opening = self._form.opening
        if self._form.answer:
            thoughts = f"({self._message('thought', self._form.thought)})*"
            return f"{thoughts} ({self._message('answer', self._form.answer)} | {calls})"
        before, special = self._to_special(opening)
        if special:  # no text holds this
            self._rule("TEXT", f"/{_ANY}/")
            self._rule("BEFORE", f"/{_ANY}{literal(before)}/")
            lead = self._lead(self._special[special])
            return f"{lead} TEXT | {lead} BEFORE {self._text(opening[len(before) :])} opened"
        trigger = re.match(r"[<\[][^\s{]{2,}", opening)
        if trigger:
            self._rule("TEXT", f"/{_ANY}/")
            self._rule("before[lazy]", f"TEXT {_quoted(trigger[0])}")
            lead = self._lead(None)
            rest = self._text(opening[trigger.end() :])
            return f"{lead} TEXT | {lead} before {rest} opened"
        # Nothing marks a call but how the reply begins.
        before = self._form.call.partition(NAME)[2].split(ARGUMENTS)[0]
        openings = [opening] if opening else [name + before for name in self._functions]
        self._rule("TEXT", f"/{_ANY}/ & ~/({'|'.join(map(literal, openings))}){_ANY}/")
        return f"TEXT | {calls}"

    def _message(self, name: str, form: str) -> str:
        before, after = form.split(TEXT)
        return f"{self._text(before)} {self._until(name, after)}"

    def _string(self, name: str, pattern: str) -> str:
        quote = self._form.quote
        return f"{self._text(quote)} {self._until(name, quote, pattern)}"

    def _until(self, name: str, end: str, pattern: str = _ANY) -> str:
        """Any text, and this behind it."""
        before, special = self._to_special(end)
        if special or not end:
            self._rule(name.upper(), f"/{pattern}{literal(before)}/")
            return f"{name.upper()} {self._text(end[len(before) :])}"
        self._rule(f"{name}[lazy]", f"/{pattern}/ {_quoted(end)}")
        return name

    def _lead(self, trigger: int | None) -> str:
        """Special tokens that are neither the call's nor an end may stand in a text."""
        others = sorted({*self._special.values()} - self._ends - {trigger})
        return f"(TEXT <[{_ranges(others)}]>)*" if others else ""

    # --- arguments one by one ---------------------------------------------------------------------

    def _parameters(self, index: int, name: str, schema: Mapping[str, Any]) -> str:
        if self._form.quote:
            where = f"the parameters of {name!r}, as {self._form.name} writes them"
            prefix = f"value_{index}"
            values = BareValues(self._rule, self._string, prefix, where, schema)
            return values.members(schema)
        required = set(schema.get("required", ()))
        rules = {}
        for number, (key, each) in enumerate(schema.get("properties", {}).items()):
            if "$defs" in schema and isinstance(each, dict):
                each = {**each, "$defs": schema["$defs"]}
            rules[key] = self._parameter(f"parameter_{index}_{number}", key, each)
        if not self._form.comma:
            return " ".join(rule if key in required else f"{rule}?" for key, rule in rules.items())
        return listed(rules, required, _quoted(self._form.comma))

    def _parameter(self, name: str, key: str, schema: Any) -> str:
        shown = json.dumps(is_text(schema))
        before, after = self._form.parameter.replace(KEY, key).replace(IS_TEXT, shown).split(VALUE)
        if not (self._form.raw and is_text(schema)):
            value = self._rule(f"{name}_value", _json(schema))
            return self._rule(name, f"{self._text(before)} {value} {self._text(after)}")
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None:
            value = "(" + " | ".join(map(_quoted, values)) + ")"
            return self._rule(name, f"{self._text(before)} {value} {self._text(after)}")
        return self._rule(name, f"{self._text(before)} {self._until(f'{name}_value', after)}")

    # --- literals ---------------------------------------------------------------------------------

    def _pieces(self, text: str) -> list[str]:
        return [piece for piece in self._cut.split(text) if piece]

    def _to_special(self, text: str) -> tuple[str, str]:
        """What stands before the first special token, and that token; "" where there is none."""
        before = ""
        for piece in self._pieces(text):
            if piece in self._special:
                return before, piece
            before += piece
        return before, ""

    def _text(self, text: str) -> str:
        """A literal; special tokens in it by their ids."""
        return " ".join(map(self._piece, self._pieces(text)))

    def _piece(self, piece: str) -> str:
        if piece in PATTERNS:
            return f"/{PATTERNS[piece]}/"
        return f"<[{self._special[piece]}]>" if piece in self._special else _quoted(piece)


def _json(schema: Any) -> str:
    options = {"x-guidance": JSON_OPTIONS}
    return "%json " + json.dumps({**schema, **options} if isinstance(schema, Mapping) else options)


def _quoted(text: str) -> str:
    return json.dumps(text)


def _ranges(ids: Iterable[int]) -> str:
    runs = []
    for _, run in groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        run = [token for _, token in run]
        runs.append(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]))
    return ",".join(runs)
