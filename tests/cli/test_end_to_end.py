"""The real command on a real, trained model, as a person or a script would run it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
STORIES = DATA / "models/stories260K"
COMMAND = [sys.executable, "-m", "genfast"]
FULL = ["--dtype", "float32", "--kv-dtype", "float32"]

pytestmark = pytest.mark.skipif(
    not STORIES.is_dir(), reason="no ../shared/data/models/stories260K beside the repository"
)


def genfast(*args, stdin="", **options):
    return subprocess.run(
        [*COMMAND, *args], input=stdin, capture_output=True, text=True, encoding="utf-8", **options
    )


def test_the_published_text():
    """karpathy's own greedy sample of this model, from the beginning-of-text token on."""
    published = json.loads((STORIES / "expected.json").read_text())["karpathy_expected_stdout"]
    done = genfast("generate", "", "-m", str(STORIES), *FULL, "--max-tokens", "256")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(published)
    assert "tokens/s" in done.stderr
    again = genfast(
        "generate", "-m", str(STORIES), *FULL, "--max-tokens", "100", "--echo", "-q",
        stdin="Once upon a time\n",
    )  # fmt: skip
    assert again.returncode == 0 and again.stderr == ""
    assert published.startswith(again.stdout.rstrip("\n"))


def test_json_equals_the_stream():
    args = ["-m", str(STORIES), *FULL, "--max-tokens", "40", "--temperature", "0.9", "--seed", "5"]
    streamed = genfast("generate", "Sara saw a big", *args)
    whole = genfast("generate", "Sara saw a big", *args, "--json", "--logprobs", "2")
    found = json.loads(whole.stdout)
    assert found["text"] == streamed.stdout.removesuffix("\n")
    assert found["usage"]["completion_tokens"] == len(found["token_ids"]) == 40
    assert len(found["logprobs"]) == 40 and len(found["logprobs"][0]["top"]) == 2
    assert found["timings"]["ttft_s"] > 0


def test_stop_string_ends_the_text():
    done = genfast("generate", "Once upon a time", "-m", str(STORIES), "--stop", "Lily", "--json")
    found = json.loads(done.stdout)
    assert found["finish_reason"] == "stop"
    assert found["text"] == ", there was a little girl named "


def test_a_model_without_tokenizer_by_ids():
    folder = DATA / "models/gpt-nano-sort"
    done = genfast("generate", "--ids", "2,0,1,2,0,1", "-m", str(folder), "--max-tokens", "6", "-q")
    assert done.returncode == 0, done.stderr
    # The last digit of the prompt is the first answer's place: six sorted digits follow it.
    assert done.stdout.split()[:5] != [] and set(done.stdout.split()) <= {"0", "1", "2"}
    text = genfast("generate", "abc", "-m", str(folder))
    assert text.returncode == 1 and "tokenizer" in text.stderr


def test_errors_are_one_line():
    done = genfast("generate", "x", "-m", "/no/such/directory")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "/no/such/directory" in done.stderr
    long = genfast("generate", "word " * 3000, "-m", str(STORIES))
    assert long.returncode == 1 and "context" in long.stderr and long.stderr.count("\n") == 1


def test_a_reader_that_leaves():
    line = f"{sys.executable} -m genfast generate x -q --ignore-eos --max-tokens 500 -m '{STORIES}'"
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -c 5; code=${{PIPESTATUS[0]}}; echo; echo $code"],
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] in ("141", "0")  # 0: it was all in the pipe already


def test_ctrl_c_ends_generate_with_130():
    # Continuations of many texts at once, so that it surely still runs when the signal comes.
    process = subprocess.Popen(
        [*COMMAND, "generate", "Once", "-m", str(STORIES), "--ignore-eos", "--n", "128",
         "--temperature", "1", "--max-tokens", "500"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    _wait_until_computing(process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert b"Traceback" not in err


def _wait_until_computing(process):
    """Until the process has used some CPU beyond starting: it is then loaded and generating."""
    stat = Path(f"/proc/{process.pid}/stat")
    ticks = os.sysconf("SC_CLK_TCK")
    for _ in range(600):
        fields = stat.read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / ticks > 1.5 or process.poll() is not None:
            return
        time.sleep(0.05)


def test_chat_on_a_terminal():
    """A person types, stops an answer with Ctrl-C, asks again and leaves with Ctrl-D."""
    terminal, slave = pty.openpty()
    arguments = ["chat", "-m", str(STORIES), "--max-tokens", "200", "--ignore-eos"]
    # Not pty.fork(): Python code in the child of a process with threads may hang.
    process = subprocess.Popen(
        ["setsid", "-c", *COMMAND, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
    )
    os.close(slave)
    pid = process.pid
    seen = ""

    def until(text, seconds=60, press=b""):
        nonlocal seen
        end = time.monotonic() + seconds
        pressed = 0.0
        while text not in seen and time.monotonic() < end:
            if press and time.monotonic() - pressed > 2:
                os.write(terminal, press)
                pressed = time.monotonic()
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    seen += os.read(terminal, 4096).decode("utf-8", "replace")
                except OSError:
                    break
        assert text in seen, seen
        before, _, seen = seen.partition(text)
        return before

    try:
        assert "no chat template" in until("> ")
        os.write(terminal, b"Hello there\n")
        until("tokens/s")
        until("> ")
        # As a person would, again if nothing happens: Python notices a signal that comes between
        # readline's prompt and its first wait for a key only at the next key.
        until("Ctrl-D or /quit leaves", press=b"\x03")
        until("> ")
        os.write(terminal, b"/help\n")
        until("forget the conversation")
        until("> ")
        os.write(terminal, b"\x04")
        _, status = os.waitpid(pid, 0)
        pid = 0
        assert os.waitstatus_to_exitcode(status) == 0
    finally:
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)


def test_info_of_a_trained_model():
    done = genfast("info", str(STORIES), "--json")
    facts = json.loads(done.stdout)
    assert facts["model_type"] == "llama" and facts["parameters"] == 260_032
    # Rows are padded to panels of 32: 344 of gate and up become 352 in each of 5 layers.
    assert facts["memory"]["float32"]["weights_bytes"] == 4 * (260_032 + 5 * 8 * 64)
    assert facts["files_bytes"] == (STORIES / "model.safetensors").stat().st_size


def test_info_agrees_with_what_is_loaded():
    import genfast
    from genfast.sizing import sizes_of

    for folder in ("stories260K", "gpt-nano-sort"):
        for quantize, dtype, fmt in (
            (None, "float32", "float32"),
            (None, "bfloat16", "bfloat16"),
            ("int8", "auto", "int8"),
            ("int4", "auto", "int4"),
        ):
            path = DATA / "models" / folder
            with genfast.load(path, quantize=quantize, dtype=dtype) as model:
                sizes = sizes_of(model.config)
                # The model counts its matrices, tables as these files store them: float32.
                expected = sum(m.nbytes("float32" if m.table else fmt) for m in sizes.matrices)
                assert model.weight_bytes == expected
                assert model.kv_bytes_per_token == sizes.kv_bytes_per_token(model.kv_dtype)
