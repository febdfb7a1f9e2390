"""No model directory, however broken, does anything but load or raise a genfast exception.

The directories are opened in another process, so that a crash is a failure with a name.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import corpus
import good_directory

RANDOM = 250
WORKER = Path(__file__).parent / "open_all.py"


def open_all(directories: list[Path]) -> dict[Path, tuple[str, str]]:
    """How each fared: ("loaded" | "refused" | "wrong" | "crashed" | "hung", message)."""
    results: dict[Path, tuple[str, str]] = {}
    left = list(directories)
    while left:
        lines = "".join(json.dumps(str(d)) + "\n" for d in left)
        ended = ""
        try:
            worker = [sys.executable, str(WORKER)]
            run = subprocess.run(worker, input=lines.encode(), capture_output=True, timeout=300)
            stdout, ended = run.stdout, f"exit status {run.returncode}: {run.stderr[-2000:]!r}"
        except subprocess.TimeoutExpired as e:
            stdout, ended = e.stdout or b"", ""
        opening = None
        for line in stdout.decode().splitlines():
            outcome, *message, directory = json.loads(line)
            if outcome == "opening":
                opening = Path(directory)
            else:
                results[Path(directory)] = (outcome, *message)
                opening = None
        if opening is None and len(results) < len(directories):
            raise RuntimeError(f"the worker did not begin: {ended}")
        if opening is not None:
            results[opening] = ("crashed", ended) if ended else ("hung", "")
        left = [d for d in directories if d not in results]
    return results


def test_the_good_directory_loads(tmp_path):
    """Or the rest would prove nothing."""
    one = good_directory.write_good(tmp_path / "one")
    two = good_directory.write_good(tmp_path / "two", shards=2)
    assert set(open_all([one, two]).values()) == {("loaded", "")}


def test_bad_directories(tmp_path, rng):
    cases = corpus.CASES | corpus.random_cases(rng, RANDOM)
    assert len(corpus.CASES) >= 300
    places = {}
    for i, (name, (spoil, _)) in enumerate(cases.items()):
        places[good_directory.write_good(tmp_path / str(i))] = name
        spoil(tmp_path / str(i))
    wrong = []
    for directory, (outcome, message) in open_all(list(places)).items():
        name = places[directory]
        words = cases[name][1]
        if outcome not in ("refused", "loaded"):
            wrong.append(f"{name}: {outcome}: {message}")
        elif words is None:
            continue
        elif outcome == "loaded":
            wrong.append(f"{name}: loaded")
        elif missing := [w for w in words if w not in message]:
            wrong.append(f"{name}: the message lacks {missing}: {message}")
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(wrong)
