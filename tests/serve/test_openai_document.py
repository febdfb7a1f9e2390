"""Responses are what OpenAI's own document says they are."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

import tiny_model
from running import CHAT, COMPLETION, TOOL, running
from tiny_tokenizer import code_llama

FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object", "properties": {}}},
}


def test_models(server, conforms):
    models = server.http.get("/v1/models").json()
    conforms("ListModelsResponse", models)
    assert [model["id"] for model in models["data"]] == ["bundled"]
    conforms("Model", server.http.get("/v1/models/bundled").json())


@pytest.mark.parametrize(
    "more", [{}, {"n": 2}, {"logprobs": 3}, {"prompt": [[5, 6], [7]]}, {"echo": True}], ids=str
)
def test_completions(server, conforms, more):
    body = {**COMPLETION, **more}
    whole = server.post("/v1/completions", body).json()
    conforms("CreateCompletionResponse", whole)
    asked = {**body, "stream_options": {"include_usage": True}}
    events = list(server.events("/v1/completions", asked))
    *chunks, usage = events
    assert usage["usage"] == whole["usage"] | {
        "prompt_tokens_details": usage["usage"]["prompt_tokens_details"]
    }
    texts = dict.fromkeys(range(len(whole["choices"])), "")
    for chunk in chunks:
        (choice,) = chunk["choices"]
        texts[choice["index"]] += choice["text"]
        if choice["finish_reason"] is not None:  # the document forgets that it is null before
            conforms("CreateCompletionResponse", {k: v for k, v in chunk.items() if v is not None})
    assert texts == {choice["index"]: choice["text"] for choice in whole["choices"]}


def test_an_integer_may_be_written_as_a_float(server):
    """To JSON Schema, and so to OpenAI's document, 2.0 is one."""
    for name, value in (("n", 2), ("max_tokens", 3), ("seed", 7), ("top_k", 4), ("prompt", [5, 6])):
        body = {**COMPLETION, "temperature": 1.0, "seed": 5, name: value}
        expected = server.post("/v1/completions", body).json()
        written = {**body, name: [5.0, 6.0] if name == "prompt" else float(value)}
        got = server.post("/v1/completions", written).json()
        assert got["choices"] == expected["choices"], name


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 2},
        {"logprobs": True, "top_logprobs": 2},
        {"tools": [TOOL], "tool_choice": "required", "max_tokens": 100},
        {"response_format": FORMAT, "max_tokens": 40},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_chats(server, conforms, more):
    body = {**CHAT, **more}
    whole = server.post("/v1/chat/completions", body).json()
    conforms("CreateChatCompletionResponse", whole)
    asked = {**body, "stream_options": {"include_usage": True}}
    contents = dict.fromkeys(range(len(whole["choices"])), "")
    calls = {}
    for chunk in server.events("/v1/chat/completions", asked):
        conforms(
            "CreateChatCompletionStreamResponse", {k: v for k, v in chunk.items() if v is not None}
        )
        for choice in chunk["choices"]:
            contents[choice["index"]] += choice["delta"].get("content") or ""
            for call in choice["delta"].get("tool_calls", ()):
                assert call.pop("index") == len(calls)
                calls[call["id"]] = call
    for choice in whole["choices"]:
        message = choice["message"]
        assert contents[choice["index"]] == (message["content"] or "")
        assert list(calls.values()) == message.get("tool_calls", [])
    if "tools" in more:
        assert whole["choices"][0]["finish_reason"] == "tool_calls"
        assert whole["choices"][0]["message"]["content"] is None


def test_logprobs_spell_the_text(server):
    body = {**CHAT, "logprobs": True, "top_logprobs": 1}
    (choice,) = server.post("/v1/chat/completions", body).json()["choices"]
    spelt = b"".join(bytes(token["bytes"]) for token in choice["logprobs"]["content"])
    assert spelt.decode() == choice["message"]["content"]
    assert all(len(token["top_logprobs"]) == 1 for token in choice["logprobs"]["content"])
    legacy = {**COMPLETION, "logprobs": 1}
    (choice,) = server.post("/v1/completions", legacy).json()["choices"]
    told = choice["logprobs"]
    for token, offset in zip(told["tokens"], told["text_offset"], strict=True):
        assert choice["text"][offset:].startswith(token)


@pytest.mark.parametrize("as_ids", [False, True])
def test_an_echo_tells_what_the_model_thinks_of_the_prompt(server, conforms, as_ids):
    """As evaluations ask for it, which send ids and count them in the answer."""
    ids = server.model.tokenizer.encode(COMPLETION["prompt"])
    prompts = [ids, ids[:3]] if as_ids else COMPLETION["prompt"]
    body = {**COMPLETION, "prompt": prompts, "echo": True, "logprobs": 2, "max_tokens": 3}
    whole = server.post("/v1/completions", body).json()
    plain = server.post("/v1/completions", {**body, "echo": False}).json()
    for choice, alone, prompt in zip(
        whole["choices"], plain["choices"], prompts if as_ids else [ids], strict=True
    ):
        told, score = choice["logprobs"], server.model.score(prompt, top=2)
        count = len(prompt)
        assert told["token_logprobs"][:count] == score.logprobs  # the first: null
        assert [len(top or {}) for top in told["top_logprobs"][:count]] == [0] + [2] * (count - 1)
        assert told["tokens"][count:] == alone["logprobs"]["tokens"]
        assert told["token_logprobs"][count:] == alone["logprobs"]["token_logprobs"]
        assert choice["text"] == server.model.tokenizer.decode(prompt) + alone["text"]
        told["token_logprobs"][0], told["top_logprobs"][0] = 0.0, {}
    conforms("CreateCompletionResponse", whole)
    told = [[] for _ in whole["choices"]]
    for event in server.events("/v1/completions", body):
        (choice,) = event["choices"]
        told[choice["index"]] += choice["logprobs"]["tokens"]
    assert told == [choice["logprobs"]["tokens"] for choice in whole["choices"]]


def test_a_suffix_makes_it_fill_in(tmp_path, conforms):
    vocabulary = code_llama()
    config = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 44}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 4}
    config["vocab_size"] = len(vocabulary["model"]["vocab"])
    tiny_model.write_model(tmp_path, config, 4)
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocabulary))
    with running({"path": tmp_path}) as server:
        body = {"prompt": "ab", "suffix": "ba", "max_tokens": 5, "temperature": 0}
        made = server.post("/v1/completions", body).json()
        conforms("CreateCompletionResponse", made)
        out = server.model.infill("ab", "ba", max_tokens=5, temperature=0)
        assert made["choices"][0]["text"] == out.text != ""
        assert made["usage"]["prompt_tokens"] == out.usage.prompt_tokens


def test_embeddings(server, conforms):
    body = {"input": ["a lamp", "the sea"]}
    made = server.post("/v1/embeddings", body).json()
    conforms("CreateEmbeddingResponse", made)
    rows = np.array([item["embedding"] for item in made["data"]], np.float32)
    assert rows.tobytes() == server.model.embed(body["input"]).tobytes()
    coded = server.post("/v1/embeddings", {**body, "encoding_format": "base64"}).json()
    data = b"".join(base64.b64decode(item["embedding"]) for item in coded["data"])
    assert data == rows.tobytes()


def test_tokenize(server):
    tokenizer = server.model.tokenizer
    made = server.post("/tokenize", {"prompt": "Once upon a time"}).json()
    assert made["tokens"] == tokenizer.encode("Once upon a time")
    assert made["count"] == len(made["tokens"]) == len(made["token_strs"])
    chat = server.post("/tokenize", {"messages": CHAT["messages"]}).json()
    assert chat["tokens"] == server.model.chat_ids(CHAT["messages"])


def test_texts_are_those_of_the_library(server):
    whole = server.post("/v1/completions", COMPLETION).json()
    alone = server.model.generate(COMPLETION["prompt"], max_tokens=8, seed=1)
    assert whole["choices"][0]["text"] == alone.text
    chat = server.post("/v1/chat/completions", CHAT).json()
    alone = server.model.chat(CHAT["messages"], max_tokens=8, seed=1)
    assert chat["choices"][0]["message"]["content"] == alone.text


def test_openapi_tells_what_is_checked(server):
    document = server.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert {"/v1/completions", "/v1/chat/completions", "/v1/embeddings"} <= set(document["paths"])
