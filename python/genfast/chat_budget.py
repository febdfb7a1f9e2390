"""A budget for templates that nobody vouched for, so that one can neither run for long nor fill the
memory:

- steps: rounds of loops, calls of macros, functions and methods, at most `MAX_STEPS` a render,
  and `MAX_SECONDS` of this thread's CPU time, looked at as they pass;
- characters: whatever makes text or lists longer (output, `~`, `+`, `*`, join, replace, padding,
  formatting, tojson) is charged *before* it is carried out, at most `MAX_CHARACTERS` a render;
- `**` and `*` at most `MAX_INT_BITS` of result; sources are at most `MAX_SOURCE`.

Not guarded: a single operation over data within these bounds (sorting a list, say), which is short.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any

import jinja2

MAX_STEPS = 2_000_000
MAX_SECONDS = 5.0
MAX_CHARACTERS = 128 * 1024 * 1024
MAX_INT_BITS = 1 << 16
MAX_SOURCE = 1 << 20


class BudgetError(Exception):
    """The template asked for more than a chat template can need."""


class Budget:
    """What one render may still use."""

    def __init__(self) -> None:
        self.steps = MAX_STEPS
        self.characters = MAX_CHARACTERS
        self._deadline = time.thread_time() + MAX_SECONDS

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise BudgetError(f"it takes more than {MAX_STEPS:,} steps")
        if not self.steps % 64 and time.thread_time() > self._deadline:
            raise BudgetError(f"it takes more than {MAX_SECONDS:g} seconds")

    def take(self, characters: int) -> None:
        self.characters -= characters
        if self.characters < 0:
            raise BudgetError(f"it produces more than {MAX_CHARACTERS:,} characters")


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


@contextmanager
def budgeted() -> Iterator[Budget]:
    """Everything rendered inside shares one budget."""
    budget = Budget()
    token = _budget.set(budget)
    try:
        yield budget
    finally:
        _budget.reset(token)


def step() -> None:
    if (budget := _budget.get()) is not None:
        budget.step()


def take(characters: int) -> None:
    if (budget := _budget.get()) is not None:
        budget.take(characters)


def _size(value: Any) -> int:
    """Characters or items at the top of a value."""
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1


def take_deep(value: Any) -> None:
    """Charges for a value with all that it holds, as when it is written out."""
    if isinstance(value, str):
        take(len(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            step()
            take_deep(key)
            take_deep(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            step()
            take_deep(item)
    elif isinstance(value, int):
        take(value.bit_length() // 3)


# --- operators, methods and filters that can make much of little ---------------------------------


def _refuse_int(bits: int) -> None:
    if bits > MAX_INT_BITS:
        raise BudgetError(f"it makes an integer of {bits:,} bits")


def before_binop(operator: str, left: Any, right: Any) -> None:
    if operator == "*":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(other, int):
                take(_size(one) * max(0, other))
        if isinstance(left, int) and isinstance(right, int):
            _refuse_int(left.bit_length() + right.bit_length())
    elif operator == "**":
        if isinstance(left, int) and isinstance(right, int) and right > 0:
            _refuse_int(left.bit_length() * right)
    elif operator == "+":
        if isinstance(left, str | list | tuple):
            take(_size(left) + _size(right))
    elif operator == "%" and isinstance(left, str):
        _before_format(left, right)


def _before_format(template: str, *values: Any) -> None:
    """Widths a person would not write, and values used more than once."""
    if re.search(r"\d{5,}|%[-+ #0]*\*|%[^%a-zA-Z]*\.\*|\{[^{}]*[:!][^{}]*\{", template):
        raise BudgetError("it formats with a very large or computed width")
    budget = _budget.get()
    if budget is not None:
        before = budget.characters
        take_deep(list(values))
        fields = template.count("%") + template.count("{")
        budget.take(len(template) + fields * (before - budget.characters))


def _before_join(separator: Any, items: Any) -> None:
    if isinstance(items, list | tuple | str):
        take(_size(separator) * _size(items))
        take_deep(items)


def _before_replace(text: Any, old: Any, new: Any) -> None:
    text, old, new = str(text), str(old), str(new)
    found = text.count(old) if old else len(text) + 1
    take(len(text) + found * len(new))


def _before_pad(text: Any, width: Any = 0, *_: Any) -> None:
    take(_size(text) + (max(0, width) if isinstance(width, int) else 0))


def _before_tabs(text: str, tabsize: Any = 8) -> None:
    take(len(text) + text.count("\t") * (max(0, tabsize) if isinstance(tabsize, int) else 8))


def _before_translate(text: str, table: Any) -> None:
    values = table.values() if isinstance(table, Mapping) else ()
    take(len(text) * max(map(_size, values), default=1))


METHOD_CHARGES: dict[str, Callable[..., None]] = {
    "join": _before_join,
    "replace": lambda text, old="", new="", *_: _before_replace(text, old, new),
    "ljust": _before_pad,
    "rjust": _before_pad,
    "center": _before_pad,
    "zfill": _before_pad,
    "expandtabs": _before_tabs,
    "translate": _before_translate,
    "format": lambda text, *args, **kwargs: _before_format(text, args, kwargs),
    "format_map": lambda text, values=(): _before_format(text, values),
}


def _before_indent(text: Any, width: Any = 4, *_: Any, **__: Any) -> None:
    each = len(width) if isinstance(width, str) else width if isinstance(width, int) else 0
    text = str(text)
    take(len(text) + (text.count("\n") + 1) * max(0, each))


def _before_join_filter(items: Any, d: Any = "", *_: Any, **__: Any) -> None:
    _before_join(d, items)


def _before_round(_: Any, precision: Any = 0, *__: Any, **___: Any) -> None:
    if isinstance(precision, int) and abs(precision) > 400:
        raise BudgetError("it rounds to more digits than a number has")


def _before_count(_: Any, count: Any = 0, *__: Any, **___: Any) -> None:
    if isinstance(count, int):
        take(max(0, count))


def _before_sum(items: Any, *_: Any, **__: Any) -> None:
    take_deep(items)


def _before_wrap(text: Any, *args: Any, **kwargs: Any) -> None:
    for extra in (*args, *kwargs.values()):
        if isinstance(extra, str):
            take(len(str(text)) * (1 + len(extra)))


FILTER_CHARGES: dict[str, Callable[..., None]] = {
    "batch": _before_count,
    "center": lambda text, width=80: _before_pad(str(text), width),
    "format": lambda text, *args, **kwargs: _before_format(str(text), args, kwargs),
    "indent": _before_indent,
    "join": _before_join_filter,
    "pprint": lambda value: take_deep(value),
    "replace": lambda text, old, new, *_: _before_replace(text, old, new),
    "round": _before_round,
    "slice": _before_count,
    "string": lambda value: take_deep(value),
    "sum": _before_sum,
    "wordwrap": _before_wrap,
}


def guarded_filter(function: Callable[..., Any], before: Callable[..., None]) -> Callable:
    # A filter may be given the context or environment first; jinja2 marks those that are.
    skip = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        rest = list(args[skip:])
        known = str | list | tuple | dict | jinja2.Undefined
        if rest and isinstance(rest[0], Iterable) and not isinstance(rest[0], known):
            rest[0] = list(rest[0])  # a generator: look at it without using it up
        before(*rest, **kwargs)
        return function(*args[:skip], *rest, **kwargs)

    return guarded
