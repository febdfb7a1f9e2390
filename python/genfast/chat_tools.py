"""The tools of one chat: what the caller gave, checked; how the reply is made to call them, and
read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from genfast.chat import pick_template
from genfast.errors import GrammarError
from genfast.grammar import (
    JSON_OPTIONS,
    KEYWORDS,
    Grammar,
    check_json_schema,
    grammar_error,
    need_llguidance,
)
from genfast.tokenizer import Tokenizer
from genfast.tool_calls import ToolCall, read_calls
from genfast.tool_formats import format_of
from genfast.tool_grammar import tool_grammar
from genfast.tool_text import TextBeside

_CHOICES = '"auto", "required", "none", or {"name": …} of one of the tools'
_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,128}")


def chat_tools(
    tools: Sequence[Mapping[str, Any]] | None,
    choice: Any,
    options: Mapping[str, Any],
    tokenizer: Tokenizer,
    several: bool = True,
) -> ChatTools | None:
    """None where no tool may be called. options: what else the caller asks of the reply. several:
    whether it may call more than once."""
    if not tools or choice == "none":
        if not tools and choice not in ("auto", "none", None):
            raise ValueError(f"tool_choice={choice!r:.80} needs tools, and there are none")
        return None
    asked = next((name for name in KEYWORDS if options.get(name) is not None), None)
    if asked:
        raise ValueError(
            f"tools and {asked} exclude each other: the calls have a grammar of their own; "
            'tool_choice="none" keeps the model from calling tools'
        )
    template = pick_template(tokenizer.chat_template, None, tools)
    return ChatTools(tools, "auto" if choice is None else choice, template, tokenizer, several)


class ChatTools:
    """grammar: in Lark, what the reply must look like.

    Arguments follow their schema to the letter, and hold nothing that it does not name unless it
    says so. A function with "strict": false takes any JSON object.
    """

    def __init__(
        self,
        tools: Sequence[Mapping[str, Any]],
        choice: Any,
        template: str,
        tokenizer: Tokenizer,
        several: bool,
    ) -> None:
        functions = {}
        for index, tool in enumerate(tools):
            name, schema = _function(tool, f"tools[{index}]")
            if name in functions:
                raise ValueError(f"tools[{index}]: there is a tool named {name!r} already")
            functions[name] = schema
        name = _chosen(choice, functions)
        self._functions = functions
        self._tokenizer = tokenizer
        self._format = format_of(template)
        self.grammar = tool_grammar(
            self._format,
            functions if name is None else {name: functions[name]},
            tokenizer,
            free=choice == "auto",
            several=several and name is None,
        )

    def text_beside(self, prompt: Sequence[int], stops: Sequence[str]) -> TextBeside:
        """What tells the text of a reply to this prompt from its calls."""
        return TextBeside(self._format, self._functions, self._tokenizer, prompt, stops)

    def read(self, prompt: Sequence[int], token_ids: Sequence[int]) -> list[ToolCall]:
        """The calls of a reply to this prompt. Their ids depend on both, so that they differ from
        those of other turns and are the same when the reply is."""
        ends = self._tokenizer.eos_ids
        text = self._tokenizer.decode(
            [i for i in token_ids if i not in ends], skip_special_tokens=False
        )
        seed = repr((list(prompt), list(token_ids))).encode()
        return read_calls(self._format, text, self._functions, seed)


def _function(tool: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Name and schema of the parameters."""
    function = tool.get("function", tool) if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        raise ValueError(f"{where} is no function: it needs a name and parameters")
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{where}.function.name is {name!r:.80}; allowed: letters, digits, '_', '-', '.'"
        )
    where = f"{where}.function.parameters"
    schema = function.get("parameters") or {}
    if not isinstance(schema, Mapping):
        raise ValueError(f"{where} is {type(schema).__name__}; allowed: a JSON schema (a dict)")
    if schema.get("type", "object") != "object":
        raise ValueError(f"{where}.type is {schema['type']!r:.60}; allowed: 'object'")
    if function.get("strict") is False:
        return name, {"type": "object"}
    schema = {"additionalProperties": False, **schema, "type": "object"}
    return name, _checked(schema, where)


def _checked(schema: dict[str, Any], where: str) -> dict[str, Any]:
    """GrammarError that names the tool, where guided output cannot follow its schema."""
    matcher = need_llguidance().LLMatcher
    source = check_json_schema(where, schema)
    text = matcher.grammar_from_json_schema(source, overrides=JSON_OPTIONS)
    failed, messages = matcher.validate_grammar_with_warnings(text)
    if failed:
        error = grammar_error(Grammar("json_schema", text, source), messages[0])
        reason = str(error).removeprefix("json_schema: ")
        raise GrammarError(
            f'{where}: {reason} ("strict": false beside the name lets any JSON object pass)'
        )
    return json.loads(source)


def _chosen(choice: Any, functions: Mapping[str, Any]) -> str | None:
    """The function that must be called, if it is a certain one."""
    if isinstance(choice, str) and choice in ("auto", "required"):
        return None
    if isinstance(choice, Mapping):
        named = choice.get("function", choice)
        name = named.get("name") if isinstance(named, Mapping) else None
        if isinstance(name, str) and name in functions:
            return name
        raise ValueError(f"tool_choice names {name!r:.80}; the tools are: {', '.join(functions)}")
    raise ValueError(f"tool_choice={choice!r:.80} is not allowed; allowed: {_CHOICES}")
