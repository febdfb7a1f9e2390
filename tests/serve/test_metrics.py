"""What Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from running import CHAT, COMPLETION, running


def read(server):
    """{name and labels: value}"""
    response = server.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_what_ran_is_counted():
    with running() as server:
        before = read(server)
        server.post("/v1/completions", {**COMPLETION, "n": 2})
        server.post("/v1/chat/completions", CHAT)
        server.post("/v1/chat/completions", {})
        server.wait_idle()
        after = read(server)

        def grown(*name):
            return after.get(name, 0) - before.get(name, 0)

        assert grown("genfast_generated_tokens_total") == 24
        assert grown("genfast_prompt_tokens_total") > 0
        assert grown("genfast_time_to_first_token_seconds_count") == 2
        assert grown("genfast_inter_token_seconds_count") == 3 * 7
        assert grown("genfast_queue_seconds_count") == 3
        assert grown("genfast_generation_seconds_count") == 2
        assert grown("genfast_choices_finished_total", ("reason", "length")) == 3
        chats = ("path", "/v1/chat/completions")
        assert grown("genfast_http_requests_total", chats, ("status", "200")) == 1
        assert grown("genfast_http_requests_total", chats, ("status", "400")) == 1
        assert after[("genfast_kv_pages",)] > 0
        assert after[("genfast_kv_pages_used",)] == 0


def test_prefix_hits_are_told():
    with running() as server:
        body = {**COMPLETION, "prompt": "word " * 100}
        server.post("/v1/completions", body)
        again = server.post("/v1/completions", body).json()
        cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
        assert cached > 0
        assert read(server)[("genfast_prefix_hit_tokens_total",)] == cached


def test_paths_that_are_not_there_share_a_label(server):
    for index in range(3):
        server.http.get(f"/nothing/{index}")
    label = ("genfast_http_requests_total", ("path", "other"), ("status", "404"))
    assert read(server)[label] == 3


def test_health(server):
    assert server.http.get("/health").json() == {"status": "ok"}
