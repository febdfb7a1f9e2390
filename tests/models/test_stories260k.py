"""A trained llama of 260,000 parameters: its ids and its published text, to the last token."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import genfast

DIRECTORY = Path(__file__).resolve().parents[3] / "shared/data/models/stories260K"
pytestmark = pytest.mark.skipif(not DIRECTORY.is_dir(), reason=f"no {DIRECTORY}")


@pytest.fixture(scope="module")
def model():
    with genfast.load(DIRECTORY, dtype="float32", kv_dtype="float32") as model:
        yield model


@pytest.fixture(scope="module")
def expected():
    return json.loads((DIRECTORY / "expected.json").read_text())


def continuation(case: dict) -> list[int]:
    """The new tokens, up to and without the end token (the file was made without stopping)."""
    new = case["greedy_ids"][len(case["prompt_ids"]) :]
    return new[: new.index(2)] if 2 in new else new


def test_greedy_ids(model, expected):
    assert len(expected["cases"]) == 6
    for case in expected["cases"]:
        want = continuation(case)
        assert len(want) >= 100
        out = model.generate(case["prompt_ids"], max_tokens=len(want), temperature=0)
        assert out.token_ids == want, case["prompt"]


def test_greedy_ids_from_text_in_one_batch(model, expected):
    cases = expected["cases"]
    longest = max(len(continuation(c)) for c in cases)
    outs = model.generate([c["prompt"] for c in cases], max_tokens=longest, temperature=0)
    for case, out in zip(cases, outs, strict=True):
        want = continuation(case)
        assert out.token_ids[: len(want)] == want, case["prompt"]


def test_prompts_encode(model, expected):
    for case in expected["cases"]:
        assert model.tokenizer.encode(case["prompt"]) == case["prompt_ids"]


def test_top_logits(model, expected):
    for case in expected["cases"]:
        last = model.logits(case["prompt_ids"])[-1]
        np.testing.assert_allclose(last[case["top5_ids"]], case["top5_logits"], rtol=0, atol=1e-4)
        assert set(np.argsort(last)[-5:].tolist()) == set(case["top5_ids"])


def test_nll(model, expected):
    for case in expected["cases"]:
        ids = case["greedy_ids"]
        rows = model.logits(ids).astype(np.float64)[:-1]
        top = rows.max(-1)
        log_sum = top + np.log(np.exp(rows - top[:, None]).sum(-1))
        nll = log_sum - rows[np.arange(len(rows)), ids[1:]]
        assert nll.mean() == pytest.approx(case["mean_nll_of_greedy"], abs=1e-5)


def test_the_published_text_from_the_command_line(expected):
    text = expected["karpathy_expected_stdout"]
    tokens = len(continuation(expected["cases"][0]))
    command = ["generate", "--model", str(DIRECTORY), "--max-tokens", str(tokens)]
    options = ["--temperature", "0", "--dtype", "float32", "--kv-dtype", "float32", ""]
    run = subprocess.run(
        [sys.executable, "-m", "genfast", *command, *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert text in run.stdout
