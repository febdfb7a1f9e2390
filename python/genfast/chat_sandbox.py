"""Jinja2 for templates that nobody vouched for.

A chat template comes with a model, from anywhere. jinja2's sandbox keeps it away from Python's
internals; this adds a budget, so that a template can neither run for long nor fill the memory:

- steps: rounds of loops, calls of macros, functions and methods, at most `MAX_STEPS` a render,
  and `MAX_SECONDS` of this thread's CPU time, looked at as they pass;
- characters: whatever makes text or lists longer (output, `~`, `+`, `*`, join, replace, padding,
  formatting, tojson) is charged *before* it is carried out, at most `MAX_CHARACTERS` a render;
- `range` at most 100,000 (jinja2's own), `**` and `*` at most `MAX_INT_BITS` of result, recursion
  as deep as Python allows; includes and imports find nothing; sources are at most `MAX_SOURCE`.

Not guarded: a single operation over data within these bounds (sorting a list, say), which is short.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import wraps
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Namespace

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


def _step() -> None:
    if (budget := _budget.get()) is not None:
        budget.step()


def _take(characters: int) -> None:
    if (budget := _budget.get()) is not None:
        budget.take(characters)


def _size(value: Any) -> int:
    """Characters or items at the top of a value."""
    return len(value) if isinstance(value, str | bytes | list | tuple | dict) else 1


def _take_deep(value: Any) -> None:
    """Charges for a value with all that it holds, as when it is written out."""
    if isinstance(value, str):
        _take(len(value))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _step()
            _take_deep(key)
            _take_deep(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _step()
            _take_deep(item)
    elif isinstance(value, int):
        _take(value.bit_length() // 3)


# --- operators, methods and filters that can make much of little ---------------------------------


def _refuse_int(bits: int) -> None:
    if bits > MAX_INT_BITS:
        raise BudgetError(f"it makes an integer of {bits:,} bits")


def _before_binop(operator: str, left: Any, right: Any) -> None:
    if operator == "*":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, str | list | tuple) and isinstance(other, int):
                _take(_size(one) * max(0, other))
        if isinstance(left, int) and isinstance(right, int):
            _refuse_int(left.bit_length() + right.bit_length())
    elif operator == "**":
        if isinstance(left, int) and isinstance(right, int) and right > 0:
            _refuse_int(left.bit_length() * right)
    elif operator == "+":
        if isinstance(left, str | list | tuple):
            _take(_size(left) + _size(right))
    elif operator == "%" and isinstance(left, str):
        _before_format(left, right)


def _before_format(template: str, *values: Any) -> None:
    """Widths a person would not write, and values used more than once."""
    if re.search(r"\d{5,}|%[-+ #0]*\*|%[^%a-zA-Z]*\.\*|\{[^{}]*[:!][^{}]*\{", template):
        raise BudgetError("it formats with a very large or computed width")
    budget = _budget.get()
    if budget is not None:
        before = budget.characters
        _take_deep(list(values))
        fields = template.count("%") + template.count("{")
        budget.take(len(template) + fields * (before - budget.characters))


def _before_join(separator: Any, items: Any) -> None:
    if isinstance(items, list | tuple | str):
        _take(_size(separator) * _size(items))
        _take_deep(items)


def _before_replace(text: Any, old: Any, new: Any) -> None:
    text, old, new = str(text), str(old), str(new)
    found = text.count(old) if old else len(text) + 1
    _take(len(text) + found * len(new))


def _before_pad(text: Any, width: Any = 0, *_: Any) -> None:
    _take(_size(text) + (max(0, width) if isinstance(width, int) else 0))


def _before_tabs(text: str, tabsize: Any = 8) -> None:
    _take(len(text) + text.count("\t") * (max(0, tabsize) if isinstance(tabsize, int) else 8))


def _before_translate(text: str, table: Any) -> None:
    values = table.values() if isinstance(table, Mapping) else ()
    _take(len(text) * max(map(_size, values), default=1))


_METHODS: dict[str, Callable[..., None]] = {
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
    _take(len(text) + (text.count("\n") + 1) * max(0, each))


def _before_join_filter(items: Any, d: Any = "", *_: Any, **__: Any) -> None:
    _before_join(d, items)


def _before_round(_: Any, precision: Any = 0, *__: Any, **___: Any) -> None:
    if isinstance(precision, int) and abs(precision) > 400:
        raise BudgetError("it rounds to more digits than a number has")


def _before_count(_: Any, count: Any = 0, *__: Any, **___: Any) -> None:
    if isinstance(count, int):
        _take(max(0, count))


def _before_sum(items: Any, *_: Any, **__: Any) -> None:
    _take_deep(items)


def _before_wrap(text: Any, *args: Any, **kwargs: Any) -> None:
    for extra in (*args, *kwargs.values()):
        if isinstance(extra, str):
            _take(len(str(text)) * (1 + len(extra)))


_FILTERS: dict[str, Callable[..., None]] = {
    "batch": _before_count,
    "center": lambda text, width=80: _before_pad(str(text), width),
    "format": lambda text, *args, **kwargs: _before_format(str(text), args, kwargs),
    "indent": _before_indent,
    "join": _before_join_filter,
    "pprint": lambda value: _take_deep(value),
    "replace": lambda text, old, new, *_: _before_replace(text, old, new),
    "round": _before_round,
    "slice": _before_count,
    "string": lambda value: _take_deep(value),
    "sum": _before_sum,
    "wordwrap": _before_wrap,
}


def _guarded_filter(function: Callable[..., Any], before: Callable[..., None]) -> Callable:
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


def _loop_guard(items: Iterable[Any], literal: int) -> Iterator[Any]:
    """Passes items on, a step each; `literal` characters of text stand in the loop's body."""
    for item in items:
        _step()
        _take(literal)
        yield item


def _concat_guard(parts: list[Any]) -> str:
    for part in parts:
        _take_deep(part)
    return "".join(map(str, parts))


def _charge_output(value: Any) -> Any:
    _take_deep(value)
    return value


# --- what Hugging Face adds to jinja2 ----------------------------------------------------------


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks words for training; no-op here."""

    tags = frozenset({"generation"})

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Dict:
    """`dict(...)` without the class behind it."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict:
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace(...)` that holds no underscored names."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            _check_name(name)
        Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        Namespace.__setitem__(self, name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}: names must not begin with _")


def now() -> datetime:
    """The clock of `strftime_now`."""
    return datetime.now()


def _strftime_now(format: str) -> str:
    return now().strftime(format)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as json.dumps writes it; jinja2's own would escape <, > and & for HTML."""
    _take_deep(value)
    if indent is not None and (indent > 64 if isinstance(indent, int) else len(indent) > 64):
        raise BudgetError("it indents JSON by more than 64")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """jinja2 as Hugging Face sets it up, under a budget."""

    intercepted_binops = frozenset(["*", "**", "+", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            finalize=_charge_output,
            optimized=False,
        )
        for name, before in _FILTERS.items():
            self.filters[name] = _guarded_filter(self.filters[name], before)
        self.filters["tojson"] = _tojson
        self.filters["genfast_loop"] = _loop_guard
        self.filters["genfast_concat"] = _concat_guard
        self.globals.pop("lipsum", None)  # makes text out of nothing
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = _strftime_now
        self.globals["dict"] = _Dict()
        self.globals["namespace"] = _Namespace

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Puts the loop and `~` guards into the parsed template."""
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            literal = sum(len(text.data) for text in loop.find_all(nodes.TemplateData))
            loop.iter = self._filtered(loop.iter, "genfast_loop", literal)
        for parent in [tree, *tree.find_all(nodes.Node)]:
            for field, value in list(parent.iter_fields()):
                if isinstance(value, nodes.Concat):
                    setattr(parent, field, self._guard_concat(value))
                elif isinstance(value, list):
                    value[:] = [
                        self._guard_concat(v) if isinstance(v, nodes.Concat) else v for v in value
                    ]
        return tree

    def _filtered(self, node: nodes.Expr, name: str, *args: Any) -> nodes.Filter:
        line, constants = node.lineno, [nodes.Const(a, lineno=node.lineno) for a in args]
        made = nodes.Filter(node, name, constants, [], None, None, lineno=line)
        made.set_environment(self)
        return made

    def _guard_concat(self, node: nodes.Concat) -> nodes.Filter:
        return self._filtered(nodes.List(node.nodes, lineno=node.lineno), "genfast_concat")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _before_binop(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _step()
        if isinstance(__obj, Macro):
            _take(256)  # what it writes is charged where it is written
        return super().call(__context, __obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._guard_method(obj, attribute, super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._guard_method(obj, argument, super().getitem(obj, argument))

    def _guard_method(self, obj: Any, name: Any, method: Any) -> Any:
        before = _METHODS.get(name) if isinstance(obj, str) and isinstance(name, str) else None
        if before is None or not callable(method):
            return method

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if name == "join" and args and not isinstance(args[0], list | tuple | str):
                args = (list(args[0]), *args[1:])
            before(obj, *args, **kwargs)
            return method(*args, **kwargs)

        return guarded
