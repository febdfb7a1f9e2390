"""What `/metrics` tells Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from genfast.results import Chunk

_TIMES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)

# Of `Model.stats`: (name there, name here, what it is).
_GAUGES = (
    ("running", "requests_running", "requests that compute"),
    ("waiting", "requests_waiting", "requests that wait for their turn"),
    ("kv_pages", "kv_pages", "pages of 32 tokens of keys and values, in all"),
    ("kv_pages_used", "kv_pages_used", "pages that requests hold"),
    ("kv_pages_free", "kv_pages_free", "pages that no request holds"),
    ("kv_pages_kept", "kv_pages_kept", "free pages kept for prompts that begin alike"),
    ("prefix_hit_rate", "prefix_hit_ratio", "share of prompt tokens that came from kept pages"),
    ("tokens_per_second", "tokens_per_busy_second", "tokens computed a second of computing"),
)
_COUNTERS = (
    ("prompt_tokens", "prompt_tokens", "tokens of prompts"),
    ("cached_tokens", "prefix_hit_tokens", "tokens of prompts that came from kept pages"),
    ("generated_tokens", "generated_tokens", "tokens generated"),
    ("draft_tokens", "draft_tokens", "tokens guessed"),
    ("accepted_tokens", "accepted_tokens", "tokens guessed right"),
    ("steps", "steps", "steps computed"),
    ("cpu_seconds", "cpu_seconds", "processor time of all threads"),
)


class Metrics:
    """The figures of one server; nothing is shared between servers of a process."""

    def __init__(self, model: Any) -> None:
        self.registry = CollectorRegistry()
        if hasattr(model, "stats"):  # an image model has no engine
            self.registry.register(_Engine(model))
        more = {"registry": self.registry}
        self.requests = Counter(
            "genfast_http_requests", "requests answered", ("path", "status"), **more
        )
        self.finished = Counter(
            "genfast_choices_finished", "choices ended, and why", ("reason",), **more
        )
        self.ttft = Histogram(
            "genfast_time_to_first_token_seconds",
            "from a request to its first token",
            buckets=_TIMES,
            **more,
        )
        self.gap = Histogram(
            "genfast_inter_token_seconds", "from token to token", buckets=_TIMES, **more
        )
        self.queue = Histogram(
            "genfast_queue_seconds",
            "time to the first token that was not the prompt's own computing",
            buckets=_TIMES,
            **more,
        )
        self.whole = Histogram(
            "genfast_generation_seconds", "a whole generation", buckets=_TIMES, **more
        )

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)


class _Engine:
    """Reads `Model.stats` when asked."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        stats = self._model.stats()
        for key, name, text in _GAUGES:
            if key in stats:
                yield GaugeMetricFamily(f"genfast_{name}", text, stats[key])
        for key, name, text in _COUNTERS:
            if key in stats:
                yield CounterMetricFamily(f"genfast_{name}", text, stats[key])


class Watch:
    """Takes the times of one request."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._start = time.monotonic()
        self._last: dict[tuple[int, int], float] = {}  # when each choice had its latest token

    def see(self, prompt: int, chunk: Chunk) -> None:
        now, metrics, choice = time.monotonic(), self._metrics, (prompt, chunk.index)
        count = len(chunk.token_ids)
        if count:
            if not self._last:
                metrics.ttft.observe(now - self._start)
            gap = (now - self._last.get(choice, now)) / count  # what came together shares it
            for _ in range(count if choice in self._last else count - 1):
                metrics.gap.observe(gap)
            self._last[choice] = now
        if chunk.finish_reason is not None:
            metrics.finished.labels(chunk.finish_reason).inc()
            if chunk.timings is not None and chunk.timings.ttft_s > 0:
                metrics.queue.observe(max(0.0, chunk.timings.ttft_s - chunk.timings.prefill_s))

    def close(self) -> None:
        self._metrics.whole.observe(time.monotonic() - self._start)
