"""`genfast serve` as a process: it answers, and stops as it was asked to."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request

import pytest

from genfast.cli import main


@pytest.fixture
def started():
    """Starts servers, and leaves none behind."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-m", "genfast", "serve", "--port", "0", "--json", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        line = process.stdout.readline()
        assert line, process.stderr.read()
        return process, json.loads(line)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def get(url, key=None):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=20) as response:
        return json.loads(response.read())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_answers_and_stops(started, how):
    process, told = started("--name", "little", "--api-key", "sesame")
    assert told["url"].startswith("http://127.0.0.1:")
    assert get(told["url"] + "/v1/models", "sesame")["data"][0]["id"] == "little"
    process.send_signal(how)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out == "" and "Traceback" not in err


def test_a_port_that_is_taken(started):
    _, told = started()
    port = told["url"].rpartition(":")[2]
    taken = subprocess.run(
        [sys.executable, "-m", "genfast", "serve", "--port", port],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert taken.returncode == 1
    assert "in use" in taken.stderr and "Traceback" not in taken.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [("--port=70000", "--port"), ("--deadline=0", "--deadline"), ("--grace=-1", "--grace")],
)
def test_wrong_options(capsys, option, words):
    assert main(["serve", option]) == 2
    assert words in capsys.readouterr().err
