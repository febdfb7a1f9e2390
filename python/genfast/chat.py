"""Chats to prompts: a model's Jinja template, rendered as Hugging Face renders it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from genfast.errors import LoadError

# The names a message's reasoning goes under; templates read the first, older ones the second.
_REASONING = ("reasoning_content", "thinking", "reasoning")


def render(
    template: str | Mapping[str, str],
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    *,
    template_name: str | None = None,
    **tokens: Any,
) -> str:
    """The prompt for a chat.

    template: a template, or several by name: then `template_name`, else "tool_use" when there
        are tools, else "default".
    messages: dicts with a role and content (a string, or a list of parts), tool_calls …
    tools: JSON schemas of functions, as OpenAI's API takes them.
    add_generation_prompt: end with the header of the assistant's answer.
    tokens: whatever else the template reads: bos_token, eos_token, enable_thinking …

    ValueError: messages or tools of a wrong shape (naming index and field), or a chat that the
    template refuses, with its own words. LoadError: a template that is itself broken.
    The text holds its special tokens: encode it with add_special_tokens=False.
    """
    source = pick_template(template, template_name, tools)
    chat, functions = _checked_messages(messages), _checked_tools(tools)
    compiled = _compile(source)
    return _run(
        compiled,
        {
            **tokens,
            "messages": chat,
            "tools": functions,
            "documents": tokens.get("documents"),
            "add_generation_prompt": bool(add_generation_prompt),
        },
    )


def check_template(template: str | Mapping[str, str]) -> None:
    """Compiles a template without running it; LoadError says what is wrong with it."""
    for source in [template] if isinstance(template, str) else template.values():
        _compile(source)


def pick_template(
    template: str | Mapping[str, str], name: str | None, tools: Sequence[Any] | None
) -> str:
    if isinstance(template, str):
        if name not in (None, "default"):
            raise ValueError(f"template_name={name!r}: the model has one template, without a name")
        return template
    if not isinstance(template, Mapping):
        raise ValueError(f"template is {type(template).__name__}; allowed: str or a dict of them")
    if name is None:
        name = "tool_use" if tools is not None and "tool_use" in template else "default"
    if name not in template:
        raise ValueError(f"template_name={name!r}; the model has: {', '.join(sorted(template))}")
    return template[name]


@lru_cache(maxsize=1)
def _environment() -> Any:
    from genfast.chat_sandbox import ChatEnvironment

    return ChatEnvironment()


@lru_cache(maxsize=64)
def _compile(source: str) -> Any:
    import jinja2

    from genfast.chat_budget import MAX_SOURCE, budgeted

    if len(source) > MAX_SOURCE:
        raise LoadError(f"chat template: {len(source):,} characters; at most {MAX_SOURCE:,}")
    try:
        with budgeted():  # jinja2 computes constant expressions while it compiles
            return _environment().from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise LoadError(f"chat template: line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise LoadError("chat template: nested too deep") from None
    except Exception as error:  # the Python compiler, on what jinja2 made of the template
        raise LoadError(f"chat template: cannot be compiled: {error}") from None


def _run(compiled: Any, variables: dict[str, Any]) -> str:
    import jinja2

    from genfast.chat_budget import BudgetError, budgeted

    try:
        with budgeted():
            return "".join(compiled.generate(**variables))
    except BudgetError as error:
        raise LoadError(f"chat template: stopped, because {error}") from None
    except RecursionError:
        raise LoadError("chat template: stopped, because it recurses without end") from None
    except jinja2.TemplateError as error:
        # raise_exception lands here with the template's own words; undefined names do too.
        raise ValueError(f"chat template: {error.message or type(error).__name__}") from None
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"chat template: {type(error).__name__}: {error}") from None


# --- what the caller gave ---------------------------------------------------------------------


def _checked_messages(messages: Any) -> list[dict[str, Any]]:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        raise ValueError(
            f'messages is {type(messages).__name__}; allowed: a list of {{"role": …, "content": …}}'
        )
    if not messages:
        raise ValueError("messages is empty; allowed: at least one message")
    return [_checked_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _checked_message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise ValueError(f"{where} is {type(message).__name__}; allowed: a dict with role, content")
    role = message.get("role")
    if not isinstance(role, str) or not role:
        raise ValueError(f"{where}.role is {role!r:.60}; allowed: a string such as 'user'")
    content = message.get("content")
    if isinstance(content, list | tuple):
        for index, part in enumerate(content):
            _check_part(part, f"{where}.content[{index}]")
    elif content is not None and not isinstance(content, str):
        raise ValueError(
            f"{where}.content is {type(content).__name__}; allowed: a string or a list of parts"
        )
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list | tuple):
            raise ValueError(f"{where}.tool_calls is {type(calls).__name__}; allowed: a list")
        for index, call in enumerate(calls):
            if not isinstance(call, Mapping):
                raise ValueError(
                    f"{where}.tool_calls[{index}] is {type(call).__name__}; allowed: a dict"
                )
    if content is None and not calls and not any(message.get(name) for name in _REASONING):
        raise ValueError(f"{where}.content is missing; allowed: a string or a list of parts")
    # As upstream: a field that is None counts as absent, and reasoning goes under all its names.
    plain = {k: v for k, v in _plain(message, where).items() if v is not None}
    reasoning = next((plain[name] for name in _REASONING if name in plain), None)
    if reasoning is not None:
        plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
    return plain


def _check_part(part: Any, where: str) -> None:
    if not isinstance(part, Mapping):
        raise ValueError(f"{where} is {type(part).__name__}; allowed: a dict with a type")
    kind = part.get("type")
    if kind is not None and not isinstance(kind, str):
        raise ValueError(f"{where}.type is {kind!r:.60}; allowed: a string such as 'text'")
    if kind == "text" and not isinstance(part.get("text"), str):
        raise ValueError(f"{where}.text is {part.get('text')!r:.60}; allowed: a string")


def _checked_tools(tools: Any) -> list[Any] | None:
    if tools is None:
        return None
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Sequence):
        raise ValueError(
            f"tools is {type(tools).__name__}; allowed: a list of JSON schemas (dicts)"
        )
    for index, tool in enumerate(tools):
        if not isinstance(tool, Mapping):
            raise ValueError(
                f"tools[{index}] is {type(tool).__name__}; allowed: a JSON schema of a function, "
                '{"type": "function", "function": {"name": …, "parameters": …}}'
            )
    return [_plain(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A copy in plain JSON types, so that a template meets no method of the caller's objects."""
    if depth > 100:
        raise ValueError(f"{where} is nested more than 100 deep")
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {_plain(k, where, depth + 1): _plain(v, where, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, where, depth + 1) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy's
        return _plain(value.item(), where, depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: _plain(getattr(value, f.name), where, depth + 1) for f in fields}
    if callable(getattr(value, "model_dump", None)):
        return _plain(value.model_dump(), where, depth + 1)
    return f"<{type(value).__name__}>"  # an image or the like: templates only ask if it is there
