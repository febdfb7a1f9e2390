"""Two processes that compute one model: its answers, its bits, and what becomes of either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import genfast
import tiny_model
import tolerance
from genfast import ranks

PAIR = {"tensor_parallel": 2, "threads": 1, "kv_cache_bytes": 1 << 22}
FLOAT32 = {"dtype": "float32", "kv_dtype": "float32"}


@pytest.fixture(scope="module")
def pair(tiny_dir):
    with genfast.load(tiny_dir, **PAIR, **FLOAT32) as model:
        yield model


def test_the_whole_model_s_answer(tiny_dir, pair, prompts):
    with genfast.load(tiny_dir, threads=1, **FLOAT32) as whole:
        for ids in prompts:
            apart = tolerance.relative_distance(pair.logits(ids), whole.logits(ids))
            assert apart.max() <= tolerance.FLOAT32_LOGITS
        for ids, out in zip(prompts, pair.generate(prompts, max_tokens=6), strict=True):
            assert out.token_ids == whole.generate(ids, max_tokens=6).token_ids
        assert pair.kv_bytes_per_token == whole.kv_bytes_per_token // 2


def test_the_same_bits_in_any_batch_chunk_and_run(tiny_dir, pair, prompts):
    options = {"max_tokens": 5, "temperature": 0.9, "seed": 5, "logprobs": 3}
    together = pair.generate(prompts, **options)
    with genfast.load(tiny_dir, **PAIR, **FLOAT32) as again:
        for ids, out in zip(prompts, together, strict=True):
            alone = again.generate(ids, **options)
            assert (alone.token_ids, alone.logprobs) == (out.token_ids, out.logprobs)
        whole = again.logits(prompts[-1], reuse=False)
    assert pair.logits(prompts[-1], chunk=7, reuse=False).tobytes() == whole.tobytes()
    assert pair.logits(prompts[-1]).tobytes() == whole.tobytes(), "from the prefix cache"


def test_beams_and_guesses(tiny_dir, pair, prompt):
    """Pages that several share are copied at every rank."""
    with genfast.load(tiny_dir, threads=1, **FLOAT32) as whole:
        want = whole.generate(prompt, max_tokens=8, num_beams=3)
    assert pair.generate(prompt, max_tokens=8, num_beams=3).token_ids == want.token_ids
    plain = pair.generate(prompt * 3, max_tokens=12, speculate=False)
    guessed = pair.generate(prompt * 3, max_tokens=12, speculate=True)
    assert guessed.token_ids == plain.token_ids


def test_packed_weights_of_each_rank(tiny_dir, tmp_path, prompt):
    options = PAIR | {"quantize": "int8", "cache_dir": tmp_path / "packed"}
    with genfast.load(tiny_dir, **options) as first:
        want = first.logits(prompt)
    assert len(list((tmp_path / "packed").glob("*.genfast"))) == 2
    with genfast.load(tiny_dir, **options) as mapped:
        assert mapped.logits(prompt).tobytes() == want.tobytes()


def children() -> list[int]:
    """The processes that this one started."""
    with open(f"/proc/self/task/{os.getpid()}/children") as f:
        return [int(pid) for pid in f.read().split()]


def test_a_rank_that_dies_is_an_exception(tiny_dir, prompt):
    before = set(children())
    model = genfast.load(tiny_dir, **PAIR)
    (rank,) = set(children()) - before
    stream = model.stream(prompt, max_tokens=900, ignore_eos=True)
    next(stream)
    os.kill(rank, signal.SIGKILL)
    with pytest.raises(genfast.ComputeError, match=r"rank 1 ended.*load the model again"):
        list(stream)
    with pytest.raises(genfast.ComputeError, match="rank 1 ended"):
        model.generate(prompt, max_tokens=2)
    model.close()
    assert rank not in children()


def test_close_ends_the_other_rank(tiny_dir, prompt):
    before = set(children())
    with genfast.load(tiny_dir, **PAIR) as model:
        assert len(set(children()) - before) == 1
        model.stream(prompt, max_tokens=900, ignore_eos=True)
    assert set(children()) <= before


def test_close_does_not_wait_for_a_rank_that_hangs(tiny_dir, prompt, monkeypatch):
    monkeypatch.setattr(ranks, "_END_SECONDS", 0.1)
    before = set(children())
    model = genfast.load(tiny_dir, **PAIR)
    (rank,) = set(children()) - before
    stream = model.stream(prompt, max_tokens=900, ignore_eos=True)
    next(stream)
    os.kill(rank, signal.SIGSTOP)
    model.close()
    assert list(stream)[-1].finish_reason == "cancelled"
    assert rank not in children()


CTRL_C = """
import genfast, os, signal, sys, threading
model = genfast.load(sys.argv[1], tensor_parallel=2, threads=1)
with open(f"/proc/self/task/{os.getpid()}/children") as f:
    print(f.read().strip(), flush=True)
threading.Timer(0.2, lambda: os.killpg(0, signal.SIGINT)).start()
try:
    for _ in range(10000):
        model.generate([1, 2, 3], max_tokens=900, ignore_eos=True)
except KeyboardInterrupt:
    print("interrupted", model.generate([1, 2, 3], max_tokens=2).finish_reason, flush=True)
if len(sys.argv) > 2:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("more", [[], ["killed"]], ids=["exits", "is-killed"])
def test_the_other_rank_outlives_ctrl_c_and_not_rank_0(tiny_dir, more):
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C, str(tiny_dir), *more],
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
    )
    pid, told = done.stdout.splitlines()
    assert told == "interrupted length", done.stderr
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and state(pid) != "Z":  # nobody may collect it here
        assert time.monotonic() < deadline
        time.sleep(0.02)


def state(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_what_several_ranks_cannot_do(tiny_dir, pair, prompt, tmp_path):
    with pytest.raises(ValueError, match=r"tensor_parallel=3.*must divide.*heads = 4"):
        genfast.load(tiny_dir, tensor_parallel=3)
    with pytest.raises(ValueError, match=r"tensor_parallel=4.*kv_heads = 2"):
        genfast.load(tiny_dir, tensor_parallel=4)
    with pytest.raises(ValueError, match="tensor_parallel=0"):
        genfast.load(tiny_dir, tensor_parallel=0)
    with pytest.raises(ValueError, match="tensor_parallel=2 goes without gpu_layers"):
        genfast.load(tiny_dir, tensor_parallel=2, device="cuda", gpu_layers=1)
    with pytest.raises(ValueError, match="tensor_parallel=2 goes without adapters"):
        genfast.load(tiny_dir, tensor_parallel=2, adapters=[tmp_path])
    gpt2 = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 64}
    directory = tiny_model.write_model(tmp_path, gpt2 | {"vocab_size": 97}, seed=1)
    with pytest.raises(ValueError, match=r"tensor_parallel=2.*gpt2 is no model of the Llama"):
        genfast.load(directory, tensor_parallel=2)
    with pytest.raises(ValueError, match="tensor_parallel=1"):
        pair.save_kv(prompt * 3, tmp_path / "kv")
    with pytest.raises(ValueError, match="all_reduce: this program is a rank's part"):
        pair.embed([prompt])


def test_a_rank_that_cannot_load_says_why(tiny_dir, tmp_path, monkeypatch):
    """Both read the same files: here another interpreter does not even start."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('no way in')")
    with pytest.raises(genfast.LoadError, match=r"(?s)rank 1 could not load its part.*no way in"):
        genfast.load(tiny_dir, **PAIR)


def test_numbers_are_of_all_ranks(pair, prompt):
    assert np.isfinite(pair.score(prompt).perplexity)
    assert pair.settings["tensor_parallel"] == 2
