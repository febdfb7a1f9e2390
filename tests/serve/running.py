"""A server that runs in a thread of the tests, and the bundled model behind it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

import genfast
from genfast.serve.server import Server
from genfast.serve.settings import Settings

# Shows a notation for calls, so that tools can be tested with a model that knows of none.
TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "assistant:{# <tool_call> #}"
)
CHAT = {"messages": [{"role": "user", "content": "Where is the lamp?"}], "max_tokens": 8, "seed": 1}
COMPLETION = {"prompt": "Once upon a time", "max_tokens": 8, "seed": 1}
TOOL = {
    "type": "function",
    "function": {
        "name": "light",
        "parameters": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}},
            "required": ["on"],
        },
    },
}


class Running:
    """url: of the server. http: a client of it. model: behind it."""

    def __init__(self, url: str, model: Any, service: Any, stop: Callable[[], None]) -> None:
        self.url, self.model, self.service, self.stop = url, model, service, stop
        self.http = httpx.Client(base_url=url, timeout=60)

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        data = json.dumps(body).encode()  # in ASCII, whatever the body holds
        return self.http.post(path, content=data, headers=headers, **options)

    def events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What a stream says, up to [DONE]."""
        with self.http.stream("POST", path, json={**body, "stream": True}) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line == "data: [DONE]":
                    return
                if line:
                    yield json.loads(line.removeprefix("data: "))
        raise AssertionError("the stream ended without [DONE]")

    def wait_idle(self) -> None:
        """Until the engine has nothing to do."""
        deadline = time.monotonic() + 20
        while (stats := self.model.stats())["running"] or stats["waiting"]:
            assert time.monotonic() < deadline, stats
            time.sleep(0.01)


@contextmanager
def running(load: dict[str, Any] | None = None, template: str | None = TEMPLATE, **settings: Any):
    """load: keywords of genfast.load. settings: of the server's Settings."""
    with genfast.load(**(load or {})) as model:
        if hasattr(model, "stream"):  # of texts
            model.tokenizer.chat_template = template
        ready: list[str] = []
        is_ready = threading.Event()

        def tell(url: str) -> None:
            ready.append(url)
            is_ready.set()

        given = Settings(**{"name": "bundled", "grace_seconds": 1.0, **settings})
        server = Server(model, given, tell, host="127.0.0.1", port=0, log_level="warning")
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        assert is_ready.wait(20)

        def stop() -> None:
            server.should_exit = True

        running = Running(ready[0], model, server._service, stop)
        try:
            yield running
        finally:
            running.http.close()
            stop()
            thread.join(20)
            assert not thread.is_alive()
