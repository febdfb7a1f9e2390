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
from genfast.tool_calls import ARGUMENTS, KEY, NAME, PATTERNS, VALUE, Format, is_text

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
        self._rules.append(f"{name}: {body}")
        return name

    def _call(self, index: int, name: str, schema: Any) -> str:
        """From the name on: what comes before it is the same for all."""
        before, after = self._form.call.partition(NAME)[2].split(ARGUMENTS)
        if self._form.parameter:
            arguments = self._parameters(index, schema)
        else:
            arguments = self._rule(f"arguments_{index}", _json(schema))
        return f"{self._text(name + before)} {arguments} {self._text(after)}"

    # --- text around the calls --------------------------------------------------------------------

    def _free(self, calls: str) -> str:
        """A text, or calls, or one before the others. What opens like a call is one."""
        opening = self._form.opening
        first = self._pieces(opening)[:1]
        if first and first[0] in self._special:  # no text holds this
            self._rule("TEXT", f"/{_ANY}/")
            lead = self._lead(self._special[first[0]])
            return f"{lead} TEXT | {lead} TEXT {calls}"
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

    def _lead(self, trigger: int | None) -> str:
        """Special tokens that are neither the call's nor an end may stand in a text."""
        others = sorted({*self._special.values()} - self._ends - {trigger})
        return f"(TEXT <[{_ranges(others)}]>)*" if others else ""

    # --- arguments one by one ---------------------------------------------------------------------

    def _parameters(self, index: int, schema: Mapping[str, Any]) -> str:
        required = set(schema.get("required", ()))
        rules = {}
        for number, (key, each) in enumerate(schema.get("properties", {}).items()):
            if "$defs" in schema and isinstance(each, dict):
                each = {**each, "$defs": schema["$defs"]}
            rules[key] = self._parameter(f"parameter_{index}_{number}", key, each)
        if not self._form.comma:
            return " ".join(rule if key in required else f"{rule}?" for key, rule in rules.items())
        comma = _quoted(self._form.comma)
        must = [rule for key, rule in rules.items() if key in required]
        may = [rule for key, rule in rules.items() if key not in required]
        later = [" ".join(f"({comma} {rule})?" for rule in may[i:]) for i in range(len(may) + 1)]
        if must:
            return f" {comma} ".join(must) + f" {later[0]}"
        starts = [f"{rule} {later[i + 1]}" for i, rule in enumerate(may)]
        return f"({' | '.join(starts)})?" if starts else ""

    def _parameter(self, name: str, key: str, schema: Any) -> str:
        before, after = self._form.parameter.replace(KEY, key).split(VALUE)
        if not (self._form.raw and is_text(schema)):
            value = self._rule(f"{name}_value", _json(schema))
            return self._rule(name, f"{self._text(before)} {value} {self._text(after)}")
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if values is not None:
            value = "(" + " | ".join(map(_quoted, values)) + ")"
            return self._rule(name, f"{self._text(before)} {value} {self._text(after)}")
        value = self._rule(f"{name}_value[lazy]", f"/{_ANY}/ {_quoted(after)}").removesuffix(
            "[lazy]"
        )
        return self._rule(name, f"{self._text(before)} {value}")

    # --- literals ---------------------------------------------------------------------------------

    def _pieces(self, text: str) -> list[str]:
        return [piece for piece in self._cut.split(text) if piece]

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
