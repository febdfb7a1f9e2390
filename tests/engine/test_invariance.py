"""The numerics contract: the same bits whatever the threads, the batch, the chunking, and wherever
the beginning of a prompt comes from."""

from __future__ import annotations

import pytest

import genfast

SETTINGS = [
    {"dtype": "float32", "kv_dtype": "float32"},
    {"dtype": "bfloat16", "kv_dtype": "bfloat16"},
    {"quantize": "int8", "kv_dtype": "bfloat16"},
    {"quantize": "int4", "kv_dtype": "int8"},
    {"quantize": "int8", "kv_dtype": "int4"},
    {"quantize": "fp8", "kv_dtype": "fp8"},
    {"dtype": "bfloat16", "kv_dtype": "int4", "window": 20, "sinks": 4},
]
IDS = ["f32", "bf16", "int8", "int4-int8kv", "int8-int4kv", "fp8", "window"]


WEIGHTS = {
    "f32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
    "int4": {"quantize": "int4"},
}


@pytest.mark.parametrize("model", ["tiny", pytest.param("bundled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kv_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_matrix(tiny_dir, rng, model, weights, kv_dtype):
    """Threads 1, 2, 3 × alone or in a batch × chunks of 1, 16, 512 × cold, prefix hit, from a
    file."""
    path = tiny_dir if model == "tiny" else None
    seed = int(rng.integers(1 << 30))
    options = {"seed": seed, "kv_dtype": kv_dtype, **WEIGHTS[weights]}
    checks = list(genfast.check_invariance(path, **options))
    assert len(checks) == 3 * 2 * 3 * 3
    assert [check for check in checks if not check.same] == []


@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_logits_have_the_same_bits(tiny_dir, prompts, settings):
    with genfast.load(tiny_dir, threads=1, **settings) as model:
        expected = [model.logits(ids).tobytes() for ids in prompts]
        for chunk in (1, 7, 64):
            for ids, bits in zip(prompts, expected, strict=True):
                assert model.logits(ids, chunk=chunk).tobytes() == bits, f"chunk {chunk}"
    for threads in (2, 3):
        with genfast.load(tiny_dir, threads=threads, **settings) as model:
            for ids, bits in zip(prompts, expected, strict=True):
                assert model.logits(ids).tobytes() == bits, f"{threads} threads"


@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_a_batch_changes_nothing(tiny_dir, prompts, settings):
    """Tokens and logprobs of seven requests at once, against each of them alone."""
    options = {"max_tokens": 24, "temperature": 0.9, "top_p": 0.95, "seed": 11, "logprobs": 5}
    with genfast.load(tiny_dir, **settings) as model:
        together = model.generate(prompts, **options)
        for ids, batched in zip(prompts, together, strict=True):
            alone = model.generate(ids, **options)
            assert alone.token_ids == batched.token_ids
            assert alone.logprobs == batched.logprobs  # floats, compared exactly


def test_prefill_and_decode_agree(tiny, prompt):
    """The logprobs of a generation are those that scoring its whole text gives, bit for bit."""
    out = tiny.generate(prompt, max_tokens=40, logprobs=0, ignore_eos=True)
    score = tiny.score(prompt + out.token_ids)
    assert [entry.logprob for entry in out.logprobs] == score.logprobs[len(prompt) :]
