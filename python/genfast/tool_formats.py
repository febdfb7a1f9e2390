"""How models write the calls of tools: one table.

Every family has a notation of its own, which its chat template shows. A `Format` says it once; from
it follow the grammar that makes a model write so (`tool_grammar`) and the reading (`tool_calls`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME, ARGUMENTS, KEY, VALUE = "⟨name⟩", "⟨arguments⟩", "⟨key⟩", "⟨value⟩"
ID, INDEX = "⟨id⟩", "⟨index⟩"  # nine letters and digits; a number
CHANNEL, TEXT = "⟨channel⟩", "⟨text⟩"
IS_TEXT = "⟨is_text⟩"  # of a value: true or false
PATTERNS = {ID: r"[A-Za-z0-9]{9}", INDEX: r"[0-9]{1,3}", CHANNEL: "(analysis|commentary)"}


@dataclass(frozen=True)
class Format:
    """A notation of calls.

    marks: a chat template that contains one of them uses it. call: one call, ⟨name⟩ and ⟨arguments⟩
    in their places. before, between, after: around the calls of a reply. parameter: how each
    argument is written where ⟨arguments⟩ is no JSON object, with comma between them; raw: strings
    stand there as they are, not as JSON; quote: what stands around strings instead of ", and names
    of properties have nothing around them. reads: a regular expression for what is read up to
    ⟨arguments⟩, where it is not written in one way alone. thought, answer: where even a text has a
    form, that of one that others follow, and of one that is the reply's end.
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
    quote: str = ""
    reads: str = ""
    thought: str = ""
    answer: str = ""

    @property
    def is_object(self) -> bool:
        """Whether a call is a JSON object that names its function."""
        return re.search(r'"\w+": "⟨name⟩"', self.call) is not None

    @property
    def opening(self) -> str:
        """What every reply with calls begins with, up to where the calls differ."""
        return self.before + self.call.partition(NAME)[0]


IDENTIFIER = r"[\w.\-]+"
_OBJECT = '{"name": "⟨name⟩", "arguments": ⟨arguments⟩}'
_DEEPSEEK = {"before": "<｜tool▁calls▁begin｜>", "after": "<｜tool▁calls▁end｜>"}


def _dsml(name: str, block: str) -> Format:
    """DeepSeek's, from V3.2 on."""
    return Format(
        name,
        (f"dsml_token + '{block}>",),
        '<｜DSML｜invoke name="⟨name⟩">\n⟨arguments⟩</｜DSML｜invoke>\n',
        before=f"<｜DSML｜{block}>\n",
        after=f"</｜DSML｜{block}>",
        parameter='<｜DSML｜parameter name="⟨key⟩" string="⟨is_text⟩">'
        "⟨value⟩</｜DSML｜parameter>\n",
        raw=True,
    )


PYTHONIC = {
    "call": "⟨name⟩(⟨arguments⟩)",
    "between": ", ",
    "parameter": "⟨key⟩=⟨value⟩",
    "comma": ", ",
}

# The first whose mark a template contains is taken: what is particular comes first.
FORMATS = (
    Format(
        "deepseek-r1",
        ("tool['type'] + '<｜tool▁sep｜>'", "tc['type'] + '<｜tool▁sep｜>'"),
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
    _dsml("deepseek-v3.2", "function_calls"),
    _dsml("deepseek-v4", "tool_calls"),
    Format(
        "gpt-oss",
        ("<|channel|>",),
        "<|channel|>commentary to=functions.⟨name⟩ <|constrain|>json<|message|>⟨arguments⟩<|call|>",
        between="<|start|>assistant",
        reads=rf"to=functions\.(?P<name>{IDENTIFIER})[^{{}}]*?<\|message\|>",
        thought="<|channel|>⟨channel⟩<|message|>⟨text⟩<|end|><|start|>assistant",
        answer="<|channel|>final<|message|>⟨text⟩",
    ),
    Format(
        "gemma-4",
        ("<|tool_call>",),
        "<|tool_call>call:⟨name⟩{⟨arguments⟩}<tool_call|>",
        parameter="⟨key⟩:⟨value⟩",
        comma=",",
        quote='<|"|>',
    ),
    Format(
        "granite",
        ("<|tool_call|>",),
        _OBJECT,
        before="<|tool_call|>[",
        between=", ",
        after="]",
    ),
    Format("gigachat", ("<|function_call|>",), f"<|function_call|>{_OBJECT}"),
    Format(
        "lfm2",
        ("<|tool_list_start|>", '"List of tools: ["'),
        before="<|tool_call_start|>[",
        after="]<|tool_call_end|>",
        **PYTHONIC,
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
    Format(
        "command-r-plus",
        ("Write \\'Action:\\' followed",),
        '{\n        "tool_name": "⟨name⟩",\n        "parameters": ⟨arguments⟩\n    }',
        before="Action:\n```json\n[\n    ",
        between=",\n    ",
        after="\n]```",
    ),
    Format("hermes", ("<tool_call>",), f"<tool_call>\n{_OBJECT}\n</tool_call>", between="\n"),
    Format(
        "pythonic",
        ("[func_name1(params_name1=",),
        before="[",
        after="]",
        **PYTHONIC,
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
