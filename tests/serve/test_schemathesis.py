"""Whatever is sent, nothing is a server's error: requests made from the server's own document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from genfast.serve.openapi import document
from running import running

POSTS = ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/tokenize"]
schema = schemathesis.openapi.from_dict(document("bundled", POSTS))


@pytest.fixture(scope="module")
def served():
    # A bad request is refused at once, and a good one must not take long: some ask for much.
    with running(deadline_seconds=0.2) as server:
        yield server


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_server(served, case):
    response = case.call(base_url=served.url, timeout=30)
    # Not to meet a deadline is what this one's was made for.
    if response.status_code == 503:
        assert response.json()["error"]["code"] == "deadline"
        return
    case.validate_response(response, checks=[not_a_server_error])
    if response.status_code >= 400:
        assert response.json()["error"]["message"]


NAUGHTY = Path(__file__).resolve().parents[3] / "shared/data/text/naughty-strings"


@pytest.mark.skipif(not NAUGHTY.is_dir(), reason="no ../shared/data beside the repository")
def test_naughty_strings(server):
    (file,) = NAUGHTY.glob("*.json")
    for text in json.loads(file.read_text()):
        chat = {"messages": [{"role": "user", "content": text}], "max_tokens": 1}
        assert server.post("/v1/chat/completions", chat).status_code < 500
        made = server.post("/tokenize", {"prompt": text})
        assert made.status_code < 500
