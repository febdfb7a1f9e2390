"""The server on Ray Serve: what it says is what the model says, and prompts find their pages."""

from __future__ import annotations

import json
import socket
from collections import Counter

import httpx
import pytest

import genfast
from genfast.serve.settings import Settings

ray = pytest.importorskip("ray")
serve = pytest.importorskip("ray.serve")

from genfast.ray.service import prefix_of, rank, serve_application  # noqa: E402


@pytest.fixture(scope="module")
def url():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(
        num_cpus=3, log_to_driver=False, include_dashboard=False, object_store_memory=100 << 20
    )
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    load = {"threads": 1, "kv_cache_bytes": 1 << 27}
    serve.run(serve_application(load, Settings(name="bundled"), replicas=2))
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


@pytest.mark.slow
def test_prompts_that_begin_alike_meet_their_pages(url):
    with httpx.Client(base_url=url, timeout=120) as client:
        for letter in "abcdefgh":
            body = {"prompt": f"{letter} word" * 60, "max_tokens": 4, "seed": 1}
            cached = [
                client.post("/v1/completions", json=body).json()["usage"]["prompt_tokens_details"]
                for _ in range(2)
            ]
            assert cached[0]["cached_tokens"] < 8  # the token that begins every text, for one
            assert cached[1]["cached_tokens"] >= 32


@pytest.mark.slow
def test_streams_and_errors_pass_through(url):
    body = {"prompt": "The sea", "max_tokens": 12, "seed": 3}
    with genfast.load() as model:
        alone = model.generate("The sea", max_tokens=12, seed=3).text
    with httpx.Client(base_url=url, timeout=120) as client:
        text = ""
        with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            for line in response.iter_lines():
                if line and line != "data: [DONE]":
                    text += json.loads(line.removeprefix("data: "))["choices"][0]["text"]
        assert text == alone
        refused = client.post("/v1/completions", json={**body, "top_p": 7})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "top_p"
        assert client.get("/v1/models").json()["data"][0]["id"] == "bundled"


def test_what_decides_is_how_a_prompt_begins():
    begin = "You are a lighthouse keeper. " * 20
    assert prefix_of(json.dumps({"prompt": begin + "a"}).encode()) == prefix_of(
        json.dumps({"prompt": begin + "b"}).encode()
    )
    chats = [{"messages": [{"role": "system", "content": begin + end}]} for end in "ab"]
    assert len({prefix_of(json.dumps(chat).encode()) for chat in chats}) == 1
    assert prefix_of(b"no json") == prefix_of(b"[1]") == ""


def test_prefixes_are_spread_and_stay_when_a_replica_leaves():
    names = ["a", "b", "c", "d"]
    first = {p: min(names, key=lambda n: rank(p, n)) for p in map(str, range(400))}
    assert min(Counter(first.values()).values()) > 60
    for prefix, name in first.items():
        if name != "d":
            assert min(names[:3], key=lambda n: rank(prefix, n)) == name
