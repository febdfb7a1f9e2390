"""`genfast bench` over a stub model and machine."""

from __future__ import annotations

import json
import re

import pytest

import genfast
from genfast.cli import main

CEILINGS = {"read_gb_s": 10.0, "fp32_gflops": 100.0, "int8_gops": 400.0, "bf16_gflops": 0.0}


@pytest.fixture
def machine(monkeypatch):
    import sys
    import types

    module = types.ModuleType("genfast.machine")
    module.measure = lambda repeats=7: dict(CEILINGS)
    monkeypatch.setitem(sys.modules, "genfast.machine", module)
    monkeypatch.setattr(genfast, "machine", module, raising=False)


def test_bench_machine(model, machine, capsys):
    assert main(["bench", "--machine"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"read bandwidth +10\.0 GB/s", out) and re.search(r"int8 +400\.0 Gop/s", out)
    assert "bfloat16" not in out and "measuring" in err  # 0: this CPU has none
    assert main(["bench", "--machine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"machine": CEILINGS}
    assert model.opened == []


def test_bench_of_a_model(model, machine, monkeypatch, capsys):
    from types import SimpleNamespace

    sizes = SimpleNamespace(body_parameters=1_000_000, logits_parameters=58_000)
    monkeypatch.setattr("genfast.sizing.sizes_of", lambda *_: sizes)
    line = "bench dir --json --prompt-tokens 1000 --new-tokens 6 --repeat 2"
    assert main(line.split()) == 0
    report = json.loads(capsys.readouterr().out)
    # 64 positions less 6 new tokens bound the prompt; 2 runs and one to warm up.
    prompts = [prompt for prompt, _ in model.asked]
    assert [len(p) for p in prompts] == [58] * 3 and prompts[0] != prompts[1] != prompts[2]
    # 400 tokens/s at 2 operations for each of a million weights of 32 bits; logits for one of 58.
    assert report["prefill"]["gflop_s"] == pytest.approx(0.8008)
    assert report["prefill"]["of_machine"] == pytest.approx(0.008008)
    assert report["prefill"]["ceiling"] == "fp32_gflops"
    # 10 tokens/s, each reading 4 MB of weights and (58 + 3) tokens of KV.
    assert report["decode"]["gb_s"] == pytest.approx(10 * (4e6 + 61 * 100) / 1e9)
    assert report["decode"]["of_machine"] == pytest.approx(report["decode"]["gb_s"] / 10)
    assert main(["bench", "dir"]) == 0
    assert "of the read bandwidth" in capsys.readouterr().out
    model.context_length = 3
    assert main(["bench", "dir"]) == 1


def test_bench_of_latency(model, machine, capsys):
    model.context_length = 4000
    assert main(["bench", "dir", "--latency", "--json", "--repeat", "2"]) == 0
    rows = json.loads(capsys.readouterr().out)["latency"]
    assert [(row["context"], row["new_tokens"]) for row in rows] == [
        (128, 100),
        (2048, 100),
        (3900, 100),  # what the context leaves of 8k
    ]
    # Each prompt twice, new and from the cache; a run to warm up and two that count.
    prompts = [prompt for prompt, _ in model.asked]
    assert [len(p) for p in prompts] == [128] * 6 + [2048] * 6 + [3900] * 6
    assert prompts[0] == prompts[1] != prompts[2] == prompts[3]
    assert all(options["speculate"] is False for _, options in model.asked)
    for row in rows:
        for kind in ("new", "cached"):
            assert row[kind]["ttft_s"] == pytest.approx(0.012)
            assert row[kind]["total_s"] == pytest.approx(0.512)
    assert main(["bench", "dir", "--latency"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"2048 tokens +12\.0 ms +12\.0 ms +512\.0 ms +512\.0 ms", out)
    assert re.search(r"commonly said +100 ms +1000 ms", out)
    model.context_length = 3
    assert main(["bench", "dir", "--latency"]) == 1
