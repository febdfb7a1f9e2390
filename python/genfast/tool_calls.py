"""How models write the calls of tools: one table, and the reading of what they wrote.

Every family has a notation of its own, which its chat template shows. A `Format` says it once; from
it follow the grammar that makes a model write so (`tool_grammar`) and the reading here.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NAME, ARGUMENTS, KEY, VALUE = "⟨name⟩", "⟨arguments⟩", "⟨key⟩", "⟨value⟩"
ID, INDEX = "⟨id⟩", "⟨index⟩"  # nine letters and digits; a number
PATTERNS = {ID: r"[A-Za-z0-9]{9}", INDEX: r"[0-9]{1,3}"}


@dataclass(frozen=True)
class ToolCall:
    """A call that a model asks for. id: names it in the conversation that follows."""

    name: str
    arguments: dict[str, Any]
    id: str

    def to_dict(self) -> dict[str, Any]:
        """As an entry of a message's tool_calls, for the next turn of the conversation."""
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True)
class Format:
    """A notation of calls.

    marks: a chat template that contains one of them uses it. call: one call, ⟨name⟩ and ⟨arguments⟩
    in their places. before, between, after: around the calls of a reply. parameter: how each
    argument is written where ⟨arguments⟩ is no JSON object, with comma between them; raw: strings
    stand there as they are, not as JSON.
    """

    name: str
    marks: tuple[str, ...]
    call: str
    before: str = ""
    between: str = ""
    after: str = ""
    parameter: str = ""
    comma: str = ""
    raw: bool = False

    @property
    def is_object(self) -> bool:
        """Whether a call is a JSON object that names its function."""
        return re.search(r'"\w+": "⟨name⟩"', self.call) is not None

    @property
    def opening(self) -> str:
        """What every reply with calls begins with, up to where the calls differ."""
        return self.before + self.call.partition(NAME)[0]


_OBJECT = '{"name": "⟨name⟩", "arguments": ⟨arguments⟩}'
_DEEPSEEK = {"before": "<｜tool▁calls▁begin｜>", "after": "<｜tool▁calls▁end｜>"}

# The first whose mark a template contains is taken: what is particular comes first.
FORMATS = (
    Format(
        "deepseek-r1",
        ("tool['type'] + '<｜tool▁sep｜>'",),
        "<｜tool▁call▁begin｜>function<｜tool▁sep｜>⟨name⟩\n```json\n⟨arguments⟩\n```<｜tool▁call▁end｜>",
        between="\n",
        **_DEEPSEEK,
    ),
    Format(
        "deepseek-v3.1",
        ("<｜tool▁sep｜>",),
        "<｜tool▁call▁begin｜>⟨name⟩<｜tool▁sep｜>⟨arguments⟩<｜tool▁call▁end｜>",
        **_DEEPSEEK,
    ),
    Format(
        "kimi",
        ("<|tool_calls_section_begin|>",),
        "<|tool_call_begin|>functions.⟨name⟩:⟨index⟩<|tool_call_argument_begin|>⟨arguments⟩<|tool_call_end|>",
        before="<|tool_calls_section_begin|>",
        after="<|tool_calls_section_end|>",
    ),
    Format("mistral-v11", ("[CALL_ID]",), "[TOOL_CALLS]⟨name⟩[CALL_ID]⟨id⟩[ARGS]⟨arguments⟩"),
    Format("mistral-v13", ("[ARGS]",), "[TOOL_CALLS]⟨name⟩[ARGS]⟨arguments⟩"),
    Format(
        "mistral",
        ("[TOOL_CALLS]",),
        _OBJECT,
        before="[TOOL_CALLS] [",
        between=", ",
        after="]",
    ),
    Format(
        "glm",
        ("<arg_key>",),
        "<tool_call>⟨name⟩\n⟨arguments⟩</tool_call>",
        between="\n",
        parameter="<arg_key>⟨key⟩</arg_key>\n<arg_value>⟨value⟩</arg_value>\n",
        raw=True,
    ),
    Format(
        "seed",
        ("<seed:tool_call>",),
        "<seed:tool_call>\n<function=⟨name⟩>\n⟨arguments⟩</function>\n</seed:tool_call>",
        between="\n",
        parameter="<parameter=⟨key⟩>⟨value⟩</parameter>\n",
        raw=True,
    ),
    Format(
        "qwen3-coder",
        ("<parameter=",),
        "<tool_call>\n<function=⟨name⟩>\n⟨arguments⟩</function>\n</tool_call>",
        between="\n",
        parameter="<parameter=⟨key⟩>\n⟨value⟩\n</parameter>\n",
        raw=True,
    ),
    Format("functionary-v3.1", ("<function=",), "<function=⟨name⟩>⟨arguments⟩</function>"),
    Format("functionary-v3.2", (">>>",), "⟨name⟩\n⟨arguments⟩", between=">>>"),
    Format(
        "apertus",
        ("<|tools_prefix|>",),
        '{"⟨name⟩": ⟨arguments⟩}',
        before="<|tools_prefix|>[",
        between=", ",
        after="]<|tools_suffix|>",
    ),
    Format(
        "apriel",
        ("<tool_calls>",),
        _OBJECT,
        before="<tool_calls>[",
        between=", ",
        after="]</tool_calls>",
    ),
    Format(
        "command-r7b",
        ("<|START_ACTION|>",),
        '{"tool_call_id": "⟨index⟩", "tool_name": "⟨name⟩", "parameters": ⟨arguments⟩}',
        before="<|START_ACTION|>[\n    ",
        between=",\n    ",
        after="\n]<|END_ACTION|>",
    ),
    Format("hermes", ("<tool_call>",), f"<tool_call>\n{_OBJECT}\n</tool_call>", between="\n"),
    Format(
        "pythonic",
        ("[func_name1(params_name1=",),
        "⟨name⟩(⟨arguments⟩)",
        before="[",
        between=", ",
        after="]",
        parameter="⟨key⟩=⟨value⟩",
        comma=", ",
    ),
    Format(
        "llama-3",
        ('"parameters": ', "<|python_tag|>"),
        '{"name": "⟨name⟩", "parameters": ⟨arguments⟩}',
        between="; ",
    ),
)  # fmt: skip
# For a template that shows no notation we know.
PLAIN = Format("plain", (), _OBJECT, between="\n")


def format_of(template: str) -> Format:
    """The notation that a chat template shows."""
    for form in FORMATS:
        if any(mark in template for mark in form.marks):
            return form
    return PLAIN


# --- reading ------------------------------------------------------------------------------------

_NAME = r"[\w.\-]+"
_CONSTANTS = {"true": True, "false": False, "null": None}


def read_calls(
    form: Format, text: str, functions: Mapping[str, Any], seed: bytes = b""
) -> list[ToolCall]:
    """The calls in a reply, its special tokens included; those that are incomplete are left out.

    functions: the schemas of the parameters, by name; other names are no calls. seed: makes the ids
    of calls that have none.
    """
    if form.is_object:
        found = _objects(form, text)
    elif form.parameter and not form.raw:
        found = _python(text)
    else:
        found = _named(form, text, functions)
    calls = []
    for name, arguments, call_id in found:
        if isinstance(arguments, dict) and name in functions:
            made = hashlib.blake2b(seed + len(calls).to_bytes(4, "little")).hexdigest()[:9]
            calls.append(ToolCall(name, arguments, call_id or made))
    return calls


_Found = Iterator[tuple[str, Any, str]]


def _objects(form: Format, text: str) -> _Found:
    """JSON objects behind the notation's opening, or a reply that is nothing else."""
    marker = (form.before + form.call.partition("{")[0]).rstrip("[ \n")
    start = text.find(marker) + len(marker)
    if marker and start < len(marker):
        return
    if not marker:
        text = text.strip().removeprefix("<|python_tag|>").lstrip()
        if not text.startswith(("{", "[")):
            return
        start = 0
    while (start := text.find("{", start)) >= 0:
        try:
            value, start = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            return
        if isinstance(value, dict):
            name = value.get("name", value.get("tool_name"))
            arguments = value.get("arguments", value.get("parameters"))
            if isinstance(arguments, str):  # as OpenAI's API has them
                arguments = _loads(arguments)
            if isinstance(name, str):
                yield name, arguments, value.get("id") if isinstance(value.get("id"), str) else ""


def _named(form: Format, text: str, functions: Mapping[str, Any]) -> _Found:
    """A name in the notation's own syntax, then a JSON object or parameters one by one."""
    head, tail = form.call.split(ARGUMENTS)
    if not head.startswith(NAME):
        starts = re.compile(_pattern(head))
    else:  # nothing but what stands between calls tells where one begins
        starts = re.compile(rf"(?:^|{re.escape(form.between)})\s*{_pattern(head)}")
    at = 0
    while match := starts.search(text, at):
        at = match.end()
        groups = match.groupdict()
        if form.parameter:
            end = text.find(tail.strip(), at)
            if end < 0:
                return
            schema = functions.get(groups["name"], {})
            yield groups["name"], _parameters(form, text[at:end], schema), ""
            at = end
            continue
        try:
            arguments, at = json.JSONDecoder().raw_decode(text, at)
        except ValueError:
            continue
        yield groups["name"], arguments, groups.get("id") or ""


def _pattern(literal: str) -> str:
    """A regular expression for a part of a notation; white space may be of any kind."""
    pattern = re.sub(r"(\\?\s)+", r"\\s*", re.escape(literal))
    pattern = pattern.replace(NAME, f"(?P<name>{_NAME})").replace(INDEX, r"\d+")
    return pattern.replace(ID, r"(?P<id>\w+)") + r"\s*"


def _parameters(form: Format, text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """One by one; a text stands as it is, everything else as JSON."""
    before, after = form.parameter.split(VALUE)
    pattern = _pattern(before).replace(KEY, f"(?P<key>{_NAME})").removesuffix(r"\s*")
    ends = re.escape(after.strip())
    found = {}
    for match in re.finditer(rf"{pattern}(?P<value>(?s:.*?))\s*{ends}", text):
        value = _loads(match["value"])
        plain = value is None and match["value"] != "null"
        if plain or is_text(schema.get("properties", {}).get(match["key"], {})):
            value = match["value"]
        found[match["key"]] = value
    return found


def is_text(schema: Any) -> bool:
    """Whether a parameter can only be a string."""
    if not isinstance(schema, Mapping):
        return False
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if values is not None:
        return all(isinstance(value, str) for value in values)
    return schema.get("type") == "string"


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _python(text: str) -> _Found:
    """[f(a=1), g(b="x")], constants as Python or JSON writes them."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for call in tree.elts if isinstance(tree, ast.List) else [tree]:
        if not isinstance(call, ast.Call) or call.args:
            continue
        try:
            arguments = {word.arg: _constant(word.value) for word in call.keywords if word.arg}
        except ValueError:
            continue
        yield ast.unparse(call.func), arguments, ""


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.List | ast.Tuple):
        return [_constant(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_constant(key): _constant(value) for key, value in pairs if key is not None}
    return ast.literal_eval(node)
