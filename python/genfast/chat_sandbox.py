"""Jinja2 as Hugging Face sets it up, for templates that nobody vouched for.

A chat template comes with a model, from anywhere. jinja2's sandbox keeps it away from Python's
internals, chat_budget.py bounds what it may use. `range` ends at 100,000 (jinja2's own), recursion
where Python's does; includes and imports find nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError
from jinja2.utils import Namespace

from genfast.chat_budget import (
    FILTER_CHARGES,
    METHOD_CHARGES,
    BudgetError,
    before_binop,
    guarded_filter,
    step,
    take,
    take_deep,
)


def _loop_guard(items: Iterable[Any], literal: int) -> Iterator[Any]:
    """Passes items on, a step each; `literal` characters of text stand in the loop's body."""
    for item in items:
        step()
        take(literal)
        yield item


def _concat_guard(parts: list[Any]) -> str:
    for part in parts:
        take_deep(part)
    return "".join(map(str, parts))


def _charge_output(value: Any) -> Any:
    take_deep(value)
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
    take_deep(value)
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
        for name, before in FILTER_CHARGES.items():
            self.filters[name] = guarded_filter(self.filters[name], before)
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
        before_binop(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        step()
        if isinstance(__obj, Macro):
            take(256)  # what it writes is charged where it is written
        return super().call(__context, __obj, *args, **kwargs)

    def getattr(self, obj: Any, attribute: str) -> Any:
        return self._guard_method(obj, attribute, super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        return self._guard_method(obj, argument, super().getitem(obj, argument))

    def _guard_method(self, obj: Any, name: Any, method: Any) -> Any:
        before = (
            METHOD_CHARGES.get(name) if isinstance(obj, str) and isinstance(name, str) else None
        )
        if before is None or not callable(method):
            return method

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if name == "join" and args and not isinstance(args[0], list | tuple | str):
                args = (list(args[0]), *args[1:])
            before(obj, *args, **kwargs)
            return method(*args, **kwargs)

        return guarded
