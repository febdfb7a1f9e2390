"""The text of a reply beside its calls, as it streams."""

from __future__ import annotations

import pytest

import genfast
from genfast.tool_formats import FORMATS, format_of
from genfast.tool_text import TextBeside


@pytest.fixture(scope="module")
def model():
    with genfast.load() as model:
        yield model


@pytest.fixture(scope="module")
def tokenizer(model):
    return model.tokenizer


def beside(tokenizer, form, reply, stops=()):
    """The pieces that a reply gives, token by token."""
    text = TextBeside(form, ["find"], tokenizer, [], stops)
    ids = tokenizer.encode(reply, add_special_tokens=False)
    return [*map(text.push, ids), text.finish()]


HERMES = format_of("<tool_call>")
LLAMA = format_of('"parameters": ')
CALL = '<tool_call>\n{"name": "find", "arguments": {}}\n</tool_call>'


def test_the_text_before_a_call(tokenizer):
    assert "".join(beside(tokenizer, HERMES, f"Let me look. {CALL}")) == "Let me look. "
    assert "".join(beside(tokenizer, HERMES, CALL)) == ""


def test_a_text_alone_comes_whole_and_as_it_is_certain(tokenizer):
    reply = "1 < 2, <tool is no call, nor is <tool_cal"
    pieces = beside(tokenizer, HERMES, reply)
    assert "".join(pieces) == reply
    assert pieces[0] == "1" and pieces[-1] == "<tool_cal"


def test_calls_that_only_the_beginning_tells(tokenizer):
    call = '{"name": "find", "parameters": {}}'
    assert "".join(beside(tokenizer, LLAMA, call)) == ""
    for reply in (f"I say {call}", '{"nam', '{"other": 1}', ""):
        assert "".join(beside(tokenizer, LLAMA, reply)) == reply


def test_stop_strings_end_it(tokenizer):
    assert "".join(beside(tokenizer, HERMES, "One. Two. Three.", [" Three"])) == "One. Two."


def test_where_texts_have_a_form_the_answer_is_told(tokenizer):
    form = format_of("<|channel|>")
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    answer = "<|channel|>final<|message|>In the hall."
    call = "<|channel|>commentary to=functions.find <|constrain|>json<|message|>{}<|call|>"
    assert "".join(beside(tokenizer, form, thought + answer)) == "In the hall."
    assert "".join(beside(tokenizer, form, thought + call)) == ""


def test_special_tokens_are_no_text(tokenizer):
    assert "".join(beside(tokenizer, HERMES, "a<|endoftext|>b")) == "ab"


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_content_and_text_of_every_notation(form, model, monkeypatch):
    """In a chat: what is said before the calls, and nothing of them."""
    template = "{{ messages[0].content }}{# " + form.marks[0] + " #}"
    monkeypatch.setattr(model.tokenizer, "chat_template", template)
    tools = [{"type": "function", "function": {"name": "find", "parameters": {}}}]
    messages = [{"role": "user", "content": "Where?"}]
    options = {"tools": tools, "seed": 1, "parallel_tool_calls": False}
    called = model.chat(messages, tool_choice="required", **options)
    assert len(called.tool_calls) == 1 and called.content == ""
    said = model.chat(messages, tool_choice="auto", **options)
    assert said.tool_calls or form.answer or said.content == said.text
    chunks = list(model.chat(messages, tool_choice="auto", stream=True, **options))
    assert "".join(chunk.content for chunk in chunks) == said.content
