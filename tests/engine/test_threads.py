"""How many threads there are, what they cost when idle, and what they compute on a busy machine.

The team itself (who takes part, how it gives way) is tested in tests/native/threads.cc."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

import genfast
from genfast import _core
from idle import wait_until_idle

BUSY = [sys.executable, "-c", "while True: pass"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_affinity_bounds_the_threads():
    code = """if True:
        import os, json, genfast
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        with genfast.load() as model:
            text = model.generate("Once", max_tokens=3).text
            started = len(os.listdir("/proc/self/task"))
        print(json.dumps([genfast.cpu_info()["threads"], started]))"""
    alone = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=alone)
    assert run.returncode == 0, run.stderr
    threads, started = json.loads(run.stdout)
    assert threads == 1
    assert started <= 3  # Python's and the engine's; no worker


def test_idle_threads_use_no_processor():
    """So another library's threads (OpenMP, torch) have the machine to themselves."""
    with genfast.load(threads=4) as model:
        model.generate("Once upon a time", max_tokens=5)
        _core.ops.probe("barrier", bytes(1024), 10, threads=3)  # the pool of genfast.ops
        wait_until_idle(model)
        time.sleep(0.2)
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.05


@pytest.mark.slow
def test_tokens_are_the_same_on_a_busy_machine():
    """Teams shrink there (csrc/core/crowd.h); no result depends on it."""
    with genfast.load(threads=3) as model:
        prompts = ["Once upon a time", "The dog"]
        quiet = model.generate(prompts, max_tokens=60, seed=1)
        busy = [subprocess.Popen(BUSY) for _ in range(2 * (os.cpu_count() or 1))]
        try:
            loud = model.generate(prompts, max_tokens=60, seed=1)
        finally:
            for process in busy:
                process.kill()
                process.wait()
        assert [x.token_ids for x in loud] == [x.token_ids for x in quiet]
