"""The official Python client runs against the server."""

from __future__ import annotations

import asyncio
import json
from typing import Literal

import openai
import pydantic
import pytest

from running import CHAT, COMPLETION, TOOL


@pytest.fixture
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_models(client):
    assert [model.id for model in client.models.list()] == ["bundled"]
    assert client.models.retrieve("bundled").id == "bundled"


def test_chat_and_its_stream(client, server):
    whole = client.chat.completions.create(model="bundled", **CHAT)
    text = whole.choices[0].message.content
    assert text == server.model.chat(CHAT["messages"], max_tokens=8, seed=1).text
    assert whole.usage.completion_tokens == 8
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = client.chat.completions.create(model="bundled", **CHAT, **asked)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert last.usage.total_tokens == whole.usage.total_tokens
    assert chunks[-1].choices[0].finish_reason == "length"


def test_completions(client):
    whole = client.completions.create(model="bundled", **COMPLETION)
    stream = client.completions.create(model="bundled", **COMPLETION, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text


def test_the_asynchronous_client(server):
    async def ask() -> tuple[list[str], str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            create = client.chat.completions.create
            answers = await asyncio.gather(*(create(model="bundled", **CHAT) for _ in range(4)))
            stream = await create(model="bundled", **CHAT, stream=True)
            streamed = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return [answer.choices[0].message.content for answer in answers], "".join(streamed)

    whole, streamed = asyncio.run(ask())
    assert whole == [streamed] * 4


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "light"}}]
)
def test_tools(client, choice):
    asked = {**CHAT, "tools": [TOOL], "tool_choice": choice, "max_tokens": 100}
    (answer,) = client.chat.completions.create(model="bundled", **asked).choices
    assert answer.finish_reason == "tool_calls"
    call = answer.message.tool_calls[0]
    assert call.function.name == "light"
    assert isinstance(json.loads(call.function.arguments)["on"], bool)
    stream = client.chat.completions.create(model="bundled", **asked, stream=True)
    deltas = [chunk.choices[0].delta for chunk in stream]
    (called,) = [delta.tool_calls for delta in deltas if delta.tool_calls]
    assert called[0].function.arguments == call.function.arguments
    turn = [
        *CHAT["messages"],
        answer.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "It is on."},
    ]
    more = client.chat.completions.create(model="bundled", messages=turn, max_tokens=4)
    assert more.usage.completion_tokens == 4


def test_one_call_where_parallel_ones_are_not_wanted(client):
    asked = {**CHAT, "tools": [TOOL], "tool_choice": "required", "max_tokens": 200}
    for seed in range(4):
        answer = client.chat.completions.create(
            model="bundled", **asked | {"seed": seed}, parallel_tool_calls=False
        )
        assert len(answer.choices[0].message.tool_calls) == 1


class Lamp(pydantic.BaseModel):
    place: Literal["hall", "attic"]
    on: bool


def test_structured_outputs(client):
    asked = {"model": "bundled", "messages": CHAT["messages"], "max_tokens": 60, "seed": 1}
    made = client.chat.completions.parse(**asked, response_format=Lamp)
    assert isinstance(made.choices[0].message.parsed, Lamp)
    with client.chat.completions.stream(**asked, response_format=Lamp) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == made.choices[0].message.parsed


def test_embeddings(client, server):
    """The client asks for base64 by itself."""
    made = client.embeddings.create(model="bundled", input=["a lamp", "the sea"])
    rows = server.model.embed(["a lamp", "the sea"])
    assert [item.embedding for item in made.data] == rows.tolist()


def test_errors_are_the_clients_own(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="bundled", **CHAT | {"temperature": 1000})
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-9", **CHAT)
    assert caught.value.code == "model_not_found"
