"""Bad requests: a 4xx in OpenAI's shape that names the field."""

from __future__ import annotations

import pytest

from running import CHAT, COMPLETION, TOOL

LONG = "word " * 3000
BAD_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}
COMPLETIONS = [
    ({"prompt": None}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [1, "a"]}, "prompt[1]"),
    ({"prompt": [1, 4096]}, "prompt[1]"),
    ({"prompt": LONG}, "prompt"),
    ({"prompt": ["a"] * 129}, "prompt"),
    ({"prompt": "\ud800"}, "prompt"),
    ({"model": "gpt-9"}, "model"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "4"}, "max_tokens"),
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"best_of": 3}, "best_of"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": 1.5}, "top_k"),
    ({"min_p": 2}, "min_p"),
    ({"presence_penalty": 3}, "presence_penalty"),
    ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"5000": 1}}, "logit_bias"),
    ({"stop": [""]}, "stop"),
    ({"stop": [1]}, "stop[0]"),
    ({"seed": 1.5}, "seed"),
    ({"logprobs": 21}, "logprobs"),
    ({"suffix": "end"}, "suffix"),  # this model does not fill in
    ({"suffix": "end", "echo": True}, "suffix"),
    ({"suffix": "end", "prompt": [5]}, "suffix"),
    ({"prompt": LONG, "logprobs": 1, "echo": True}, "prompt"),
    ({"prompt": [3, -1], "echo": True}, "prompt[1]"),
    ({"prompt": ["Once", [3, -1]], "echo": True}, "prompt[1]"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options.usage"),
    ({"deadline_ms": 0}, "deadline_ms"),
    ({"regex": "("}, "regex"),
    ({"regex": "a", "grammar": "b"}, None),
    ({"min_tokens": 9}, "min_tokens"),
    ({"mirostat_tau": 3, "temperature": 0}, "mirostat_tau"),
    ({"temprature": 1}, "temprature"),
]
CHATS = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [1]}, "messages[0]"),
    ({"messages": [{"content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "who", "content": "a"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0]",
    ),
    ({"messages": [{"role": "user", "content": LONG}]}, "messages"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0]"),
    ({"max_completion_tokens": 4}, "max_completion_tokens"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"logprobs": 2}, "logprobs"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "x"}}}},
        "response_format.json_schema.schema",
    ),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [BAD_TOOL]}, "tools[0].function.parameters"),
    ({"tools": [TOOL], "tool_choice": "always"}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"modalities": ["audio"]}, "modalities[0]"),
    ({"audio": {}}, "audio"),
]
EMBEDDINGS = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", 1]}, "input"),
    ({"input": LONG}, "input"),
    ({"input": "a", "dimensions": 3}, "dimensions"),
    ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
]
CASES = [
    (path, {**good, **bad}, param)
    for path, good, cases in (
        ("/v1/completions", COMPLETION, COMPLETIONS),
        ("/v1/chat/completions", CHAT, CHATS),
        ("/v1/embeddings", {}, EMBEDDINGS),
    )
    for bad, param in cases
]


@pytest.mark.parametrize(
    ("path", "body", "param"), CASES, ids=lambda value: f"{value!r:.40}" if value else "-"
)
def test_a_bad_field_is_named(server, conforms, path, body, param):
    response = server.post(path, body)
    assert 400 <= response.status_code < 500, response.text
    conforms("ErrorResponse", response.json())
    error = response.json()["error"]
    assert (error["param"] or "").startswith(param or ""), error
    assert error["param"] is not None or param is None, error


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_beyond_the_context(server, stream):
    body = {**COMPLETION, "prompt": LONG, "stream": stream}
    error = server.post("/v1/completions", body).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "1024" in error["message"]


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"\xff", b'{"prompt": NaN}', b"[" * 100_000, b'{"seed": ' + b"1" * 9999],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_request(server, conforms, data):
    headers = {"Content-Type": "application/json"}
    response = server.http.post("/v1/completions", content=data, headers=headers)
    assert response.status_code == 400
    conforms("ErrorResponse", response.json())


def test_other_content_types_are_refused(server):
    """A form of somebody else's page could send these without asking."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"Content-Type": kind}
        response = server.http.post("/v1/completions", content=b"{}", headers=headers)
        assert response.status_code == 415


def test_paths_and_methods(server, conforms):
    for response, status in (
        (server.http.get("/v1/nothing"), 404),
        (server.http.get("/v1/completions"), 405),
        (server.http.get("/v1/models/gpt-9"), 404),
    ):
        assert response.status_code == status
        conforms("ErrorResponse", response.json())


def test_naughty_strings_come_back(server):
    for text in ("\x00", "🏳️‍🌈", "مرحبا", "\u202eabc", "<script>alert(1)</script>", "\\", "{{7*7}}"):
        made = server.post("/v1/completions", {**COMPLETION, "prompt": text, "echo": True})
        assert made.json()["choices"][0]["text"].startswith(text)
        chat = [{"role": "user", "content": text}]
        assert server.post("/v1/chat/completions", {**CHAT, "messages": chat}).status_code == 200
