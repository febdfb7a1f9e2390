"""`genfast batch`: every row is answered once, whatever happens on the way."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

import genfast
from genfast.batch import Results, read_rows
from genfast.cli import main
from genfast.errors import GenfastError

GOOD = [{"prompt": f"The {word}", "id": word} for word in ("sea", "moor", "heath", "garden")]


def write(path, lines):
    path.write_text(
        "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    )


def results(path):
    return sorted(map(json.loads, path.read_text().splitlines()), key=lambda result: result["row"])


@pytest.fixture
def files(tmp_path):
    return tmp_path / "in.jsonl", tmp_path / "out.jsonl"


def batch(files, *options):
    return main(["batch", *map(str, files), "--max-tokens", "8", *options])


def test_every_row_has_its_answer(files):
    write(files[0], GOOD)
    assert batch(files) == 0
    with genfast.load() as model:
        for row, result in zip(GOOD, results(files[1]), strict=True):
            alone = model.generate(row["prompt"], max_tokens=8, seed=result["row"])
            assert (result["id"], result["text"]) == (row["id"], alone.text)


def test_a_bad_row_does_not_stop_the_others(files, capsys):
    bad = ["{", "[]", {}, {"prompt": "a", "messages": []}, {"prompt": ["a", "b"]}]
    bad += [{"prompt": "a", "temperature": -1}, {"prompt": "a " * 2000}, {"prompt": "a", "what": 1}]
    write(files[0], [GOOD[0], *bad, "", GOOD[1]])
    assert batch(files, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"rows": 10, "before": 0, "answered": 10, "errors": len(bad)}
    made = results(files[1])
    assert ["error" in result for result in made] == [False, *[True] * len(bad), False]
    assert made[-1]["row"] == len(bad) + 2  # lines count, blank ones too
    assert "temperature" in made[6]["error"]


def test_it_goes_on_where_it_was_stopped(files, capsys):
    write(files[0], GOOD)
    batch(files)
    whole = results(files[1])
    lines = files[1].read_text().splitlines(keepends=True)
    files[1].write_text(lines[0] + lines[1] + lines[2][:20])  # killed while it wrote the third
    capsys.readouterr()
    assert batch(files, "--json") == 0
    assert json.loads(capsys.readouterr().out)["answered"] == 2
    assert results(files[1]) == whole
    assert batch(files, "--json") == 0
    assert json.loads(capsys.readouterr().out)["answered"] == 0


def test_a_killed_run_loses_nothing_and_repeats_nothing(files):
    write(files[0], [{"prompt": f"Number {n}", "max_tokens": 40} for n in range(120)])
    command = [sys.executable, "-m", "genfast", "batch", *map(str, files), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (files[1].exists() and files[1].stat().st_size):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()
    before = files[1].read_bytes().count(b"\n")
    told = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    assert told["before"] == before
    assert told["rows"] == told["before"] + told["answered"] == 120
    assert [result["row"] for result in results(files[1])] == list(range(120))


def test_another_input_is_not_mixed_in(files, capsys):
    write(files[0], GOOD)
    batch(files)
    write(files[0], [*GOOD[:3], {"prompt": "else"}])
    assert batch(files) == 1
    assert "row 3 is of another input" in capsys.readouterr().err


def test_one_writer_at_a_time(files):
    with Results(files[1]), pytest.raises(GenfastError, match="another process is writing"):
        Results(files[1])


def test_a_file_of_something_else_is_left_alone(files, capsys):
    write(files[0], GOOD)
    files[1].write_text("my notes\n")
    assert batch(files) == 1
    assert "is no result of a batch" in capsys.readouterr().err
    assert files[1].read_text() == "my notes\n"


def test_rows_are_told_apart_by_number_and_digest(files):
    write(files[0], [GOOD[0], GOOD[0]])
    first, second = read_rows(files[0])
    assert first.digest == second.digest and first.number != second.number
