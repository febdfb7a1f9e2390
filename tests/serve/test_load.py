"""Many clients at once: nothing is lost, and every text is what its client alone would have got."""

from __future__ import annotations

import asyncio
import json

import httpx

CLIENTS, TOKENS = 64, 32
STARTS = ("Once upon a time", "The sea", "My dear Jane,", "Of the origin of")


def bodies():
    """Different prompts, lengths and seeds; some share a beginning."""
    for index in range(CLIENTS):
        prompt = STARTS[index % 4] + " and so" * (index // 4)
        yield {"prompt": prompt, "max_tokens": TOKENS + index % 5, "seed": index, "stream": True}


async def read(client: httpx.AsyncClient, body: dict) -> tuple[str, str, int]:
    """(text, why it ended, tokens)"""
    asked = {**body, "stream_options": {"include_usage": True}}
    text, reason, tokens, done = "", "", 0, False
    async with client.stream("POST", "/v1/completions", json=asked) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line == "data: [DONE]":
                done = True
            elif line:
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                for choice in event["choices"]:
                    text += choice["text"]
                    reason = choice["finish_reason"] or reason
                if event.get("usage"):
                    tokens = event["usage"]["completion_tokens"]
    assert done
    return text, reason, tokens


def test_64_streams_each_as_if_alone(server):
    async def all_at_once() -> list[tuple[str, str, int]]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=server.url, timeout=120, limits=limits) as client:
            return await asyncio.gather(*(read(client, body) for body in bodies()))

    together = asyncio.run(all_at_once())
    assert len(together) == CLIENTS
    for body, (text, reason, tokens) in zip(bodies(), together, strict=True):
        alone = server.model.generate(
            body["prompt"], max_tokens=body["max_tokens"], seed=body["seed"]
        )
        assert text == alone.text
        assert reason == alone.finish_reason
        assert tokens == len(alone.token_ids)
    server.wait_idle()
    assert server.model.stats()["kv_pages_used"] == 0
