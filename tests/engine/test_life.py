"""Threads, cancelling, closing, forking, memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import genfast
from idle import wait_until_idle
from memory import needs_proc, resident_bytes


def test_many_threads_get_their_own_answers(tiny, prompts):
    expected = [tiny.generate(ids, max_tokens=20).token_ids for ids in prompts]
    results = {}

    def ask(index):
        results[index] = tiny.generate(prompts[index % 7], max_tokens=20).token_ids

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(28)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[i] == expected[i % 7] for i in range(28))


def test_a_closed_stream_cancels_its_request(tiny, prompt):
    stream = tiny.stream(prompt, max_tokens=900, ignore_eos=True)
    next(stream)
    stream.close()
    wait_until_idle(tiny)


def test_a_stream_closed_before_it_was_read_cancels_its_request(tiny, prompt):
    before = tiny.stats()["generated_tokens"]
    for _ in range(5):
        tiny.stream(prompt, max_tokens=900, ignore_eos=True).close()
    wait_until_idle(tiny)
    assert tiny.stats()["generated_tokens"] - before < 5 * 900


def test_astream_and_cancelled_tasks(tiny, prompt):
    async def main():
        whole = tiny.generate(prompt, max_tokens=10).token_ids
        seen = [t async for c in tiny.astream(prompt, max_tokens=10) for t in c.token_ids]
        assert seen == whole

        under_way = asyncio.Event()

        async def endless():
            async for _ in tiny.astream(prompt, max_tokens=900, ignore_eos=True):
                under_way.set()
                await asyncio.sleep(0)  # however fast tokens come, the others have their turn

        tasks = [asyncio.create_task(endless()) for _ in range(3)]
        await under_way.wait()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(r, asyncio.CancelledError) for r in results)

    asyncio.run(main())
    wait_until_idle(tiny)


def test_close_ends_what_runs(tiny_dir, prompt):
    model = genfast.load(tiny_dir)
    results = []

    def ask():
        results.append(model.generate(prompt, max_tokens=900, ignore_eos=True))

    thread = threading.Thread(target=ask)
    thread.start()
    while thread.is_alive() and not model.stats()["running"]:
        time.sleep(0.001)
    model.close()
    thread.join()
    assert results[0].finish_reason in ("cancelled", "length")
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.generate(prompt)


def test_other_threads_run_while_it_computes(tiny_dir, prompt):
    """A thread that counts goes on counting: load and generate hold the GIL only in passing."""
    counts = []
    stop = threading.Event()

    def heartbeat():
        while not stop.is_set():
            counts.append(1)
            time.sleep(0.001)

    thread = threading.Thread(target=heartbeat)
    with genfast.load(tiny_dir) as model:
        thread.start()
        model.generate(prompt, max_tokens=900, ignore_eos=True)
        stop.set()
        thread.join()
    assert len(counts) > 5


CTRL_C = """
import genfast, os, signal, sys, threading, time
model = genfast.load(sys.argv[1])
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    for _ in range(10000):
        model.generate([1, 2, 3], max_tokens=900, ignore_eos=True)
except KeyboardInterrupt:
    while model.stats()["running"]:
        time.sleep(0.001)
    print("interrupted", model.generate([1, 2, 3], max_tokens=2).finish_reason)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_raises_and_the_model_lives_on(tiny_dir):
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C, str(tiny_dir)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "interrupted length\n", done.stderr
    assert done.returncode == 0


EXIT = """
import genfast, sys, threading
import numpy as np
model = genfast.load(sys.argv[1])
x = np.ones((64, 512), np.float32)
stream = model.stream([1, 2, 3], max_tokens=900, ignore_eos=True)
next(stream)

def again_and_again(call):
    while True:
        try:
            call()
        except RuntimeError:  # the model is closed
            pass

threading.Thread(target=lambda: model.generate([4], max_tokens=900), daemon=True).start()
one_token = lambda: model.generate([4], max_tokens=1)
for call in (model.stats, one_token, lambda: genfast.ops.softmax(x)):
    threading.Thread(target=again_and_again, args=(call,), daemon=True).start()
print("leaving")
"""


def test_the_interpreter_exits_cleanly_with_requests_in_flight(tiny_dir):
    done = subprocess.run(
        [sys.executable, "-c", EXIT, str(tiny_dir)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "leaving\n"), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_told(tiny, prompt):
    tiny.generate(prompt, max_tokens=2)
    pid = os.fork()
    if pid == 0:
        try:
            tiny.generate(prompt, max_tokens=2)
        except RuntimeError as error:
            os._exit(0 if "fork" in str(error) else 1)
        os._exit(2)
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.slow
@needs_proc
def test_memory_is_flat_over_a_thousand_cycles(tiny_dir, prompt):
    def cycle(times):
        for _ in range(times):
            with genfast.load(tiny_dir, quantize="int8", threads=2) as model:
                model.generate(prompt, max_tokens=4)

    cycle(100)
    before = resident_bytes()
    cycle(1000)
    grown = resident_bytes() - before
    # A leak of one weight matrix (6 KB) a cycle would be 6 MB; allocators keep less than that.
    assert grown < 3e6, f"{grown} bytes more after 1,000 cycles"
