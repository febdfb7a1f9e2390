"""What one client may take from the others, and what a server does when it stops."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest

from genfast.serve.settings import Settings
from running import CHAT, COMPLETION, running

# The bundled model has 1,024 places; this keeps it busy for as long as a test needs.
ENDLESS = {**COMPLETION, "max_tokens": 1000, "ignore_eos": True, "speculate": False}


@pytest.fixture(scope="module")
def small():
    """A server that runs short of everything."""
    with running(
        {"queue_limit": 16},
        api_key="sesame",
        max_body_bytes=1000,
        body_seconds=0.5,
        send_seconds=0.5,
        hosts=("127.0.0.1",),
        origins=("https://example.org",),
    ) as server:
        server.http.headers["Authorization"] = "Bearer sesame"
        yield server


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def open_stream(server, body=ENDLESS, receive_buffer=None):
    """A connection that has asked for a stream."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect((host, int(port)))
    data = json.dumps({**body, "stream": True})
    head = "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer sesame\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data.encode())
    return connection


def generated(server, wait):
    """Tokens that the requests made meanwhile; those of a request count when it ends."""
    before = server.model.stats()["generated_tokens"]
    wait()
    server.wait_idle()
    assert server.model.stats()["kv_pages_used"] == 0
    return server.model.stats()["generated_tokens"] - before


def test_a_client_that_leaves_ends_its_stream(small):
    def leave():
        with open_stream(small, {**ENDLESS, "n": 3}) as connection:
            assert connection.recv(1)

    assert 0 < generated(small, leave) < 1000


def test_a_client_that_leaves_ends_its_answer(small):
    def leave():
        with pytest.raises(httpx.ReadTimeout):
            timeout = httpx.Timeout(20, read=0.1)
            small.post("/v1/completions", {**ENDLESS, "n": 12}, timeout=timeout)

    assert generated(small, leave) < 12 * 1000


def test_a_client_that_reads_nothing_counts_as_gone(small):
    """What it leaves unread fills the buffers on the way; then send_seconds pass."""
    connection = open_stream(small, {**ENDLESS, "n": 16, "logprobs": 20}, receive_buffer=4096)
    wait_for(lambda: small.model.stats()["running"])
    assert generated(small, lambda: None) < 16 * 1000
    connection.close()


def test_a_full_queue_is_a_429(small):
    """The engine runs 64 at once, and 16 may wait."""
    refused = small.post("/v1/completions", {**ENDLESS, "n": 100})
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert refused.headers["Retry-After"]
    small.wait_idle()
    assert small.post("/v1/completions", COMPLETION).status_code == 200


def test_a_deadline_ends_a_request_with_what_there_is(small):
    made = small.post("/v1/completions", {**ENDLESS, "deadline_ms": 250}).json()["choices"][0]
    assert made["finish_reason"] == "length" and made["stop_reason"] == "deadline"
    assert made["text"]


def test_a_deadline_that_cannot_be_met_is_a_503(small):
    small.post("/v1/completions", COMPLETION)  # now the engine knows what steps cost
    made = small.post("/v1/completions", {**ENDLESS, "deadline_ms": 0.001})
    assert made.status_code == 503 or made.json()["choices"][0]["stop_reason"] == "deadline"
    if made.status_code == 503:
        assert made.json()["error"]["param"] == "deadline_ms"


def test_a_large_request_is_a_413(small):
    made = small.post("/v1/completions", {**COMPLETION, "prompt": "a" * 1000})
    assert made.status_code == 413

    def parts():
        for _ in range(100):
            yield b" " * 100

    headers = {"Content-Type": "application/json"}
    made = small.http.post("/v1/completions", content=parts(), headers=headers)
    assert made.status_code == 413


def test_a_request_that_does_not_arrive_is_a_408(small):
    host, port = small.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"
        head += b"Authorization: Bearer sesame\r\nContent-Type: application/json\r\n\r\n{"
        connection.sendall(head)
        assert b" 408 " in connection.recv(1000)


def test_keys(small, conforms):
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "sesame"}):
        made = small.post("/v1/completions", COMPLETION, headers=headers)
        assert made.status_code == 401
        conforms("ErrorResponse", made.json())
        assert "sesame" not in made.text
    with httpx.Client(base_url=small.url) as stranger:
        for path, status in (("/", 200), ("/health", 200), ("/metrics", 401), ("/v1/models", 401)):
            assert stranger.get(path).status_code == status


def test_other_hosts_are_not_answered(small):
    """A name of somebody else's that leads here is how web pages would reach this server."""
    assert small.http.get("/health", headers={"Host": "evil.example"}).status_code == 421
    assert small.http.get("/health", headers={"Host": "127.0.0.1:1"}).status_code == 200


def test_pages_that_may_call(small):
    asked = {"Access-Control-Request-Method": "POST"}
    for origin, allowed in (("https://example.org", True), ("https://evil.example", False)):
        made = small.http.options("/v1/completions", headers={"Origin": origin, **asked})
        assert (made.headers.get("access-control-allow-origin") == origin) is allowed


def test_a_stopping_server_returns_what_there_is():
    with running({"threads": 1}, grace_seconds=0.3) as server:
        made = []

        def ask():
            made.append(server.post("/v1/completions", {**ENDLESS, "n": 20}))

        def listen():
            made.append(list(server.events("/v1/completions", {**ENDLESS, "n": 20})))

        threads = [threading.Thread(target=target) for target in (ask, listen)]
        for thread in threads:
            thread.start()
        wait_for(lambda: server.model.stats()["running"] == 40)
        server.stop()
        for thread in threads:
            thread.join(30)
        whole, events = sorted(made, key=lambda item: isinstance(item, list))
        assert whole.status_code == 200
        ended = whole.json()["choices"]
        ended += [e["choices"][0] for e in events if e["choices"][0]["finish_reason"]]
        assert len(ended) == 40
        assert {choice["stop_reason"] for choice in ended} == {"cancelled"}


def test_a_stopping_server_lets_short_requests_finish():
    with running(grace_seconds=30) as server:
        made = []

        def ask():
            made.append(server.post("/v1/chat/completions", {**CHAT, "max_tokens": 40}))

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: server.model.stats()["running"] or made)
        server.stop()
        thread.join(30)
        assert made[0].json()["usage"]["completion_tokens"] == 40


def test_the_defaults_keep_to_this_machine():
    from genfast.cli import build_parser

    assert build_parser().parse_args(["serve"]).host == "127.0.0.1"
    assert Settings().api_key is None
