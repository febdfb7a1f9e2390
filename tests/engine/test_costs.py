"""What requests are told they cost adds up to what the process measured."""

from __future__ import annotations

import time

import pytest

import genfast

COSTS = ("cpu_seconds", "bytes_moved", "kv_byte_seconds")


def test_costs_add_up(rng):
    """On the bundled model, where a step is long beside what surrounds it."""
    with genfast.load(threads=1) as model:
        model.generate([1, 2, 3], max_tokens=2)
        before, cpu = model.stats(), time.process_time()
        prompts = [rng.integers(0, model.vocab_size, n).tolist() for n in (3, 40, 200, 450, 450)]
        prompts.append(prompts[-1][:300] + prompts[0])
        results = model.generate(prompts, max_tokens=80, ignore_eos=True)
        cpu, after = time.process_time() - cpu, model.stats()
    for name in COSTS:
        total = sum(getattr(out.usage, name) for out in results)
        assert total == pytest.approx(after[name] - before[name], rel=0.05), name
    told = sum(out.usage.cpu_seconds for out in results)
    # Other threads of this process wait and copy tokens meanwhile: that is nobody's.
    assert cpu / 2 < told < 1.05 * cpu
    assert all(getattr(out.usage, name) > 0 for out in results for name in COSTS)


def test_choices_count_their_prompt_once(tiny, prompt):
    out = tiny.generate(prompt, n=3, max_tokens=5, temperature=1.0, seed=1, ignore_eos=True)
    assert out.usage.prompt_tokens == len(prompt)
    assert out.usage.completion_tokens == 15
    assert out.usage.cpu_seconds > out.choices[1].usage.cpu_seconds > 0


def test_stats_name_everything(tiny, prompt):
    tiny.generate(prompt, max_tokens=5)
    stats = tiny.stats()
    for name in [
        "running",
        "waiting",
        "kv_pages",
        "kv_pages_used",
        "kv_pages_free",
        "kv_pages_kept",
        "prefix_hit_rate",
        "steps",
        "tokens",
        "generated_tokens",
        "tokens_per_second",
        "busy_seconds",
        "step_ms_p50",
        "step_ms_p90",
        "step_ms_p99",
    ]:
        assert name in stats
    assert 0 < stats["step_ms_p50"] <= stats["step_ms_p90"] <= stats["step_ms_p99"]
    assert stats["tokens_per_second"] == pytest.approx(stats["tokens"] / stats["busy_seconds"])
