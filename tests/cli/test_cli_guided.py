"""Guided output from the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from genfast.cli import main


def test_options_reach_generate(model, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "integer"}')
    lark = tmp_path / "sum.lark"
    lark.write_text('start: "a"\n')
    for line, expected in [
        (["--json-schema", str(schema)], {"json_schema": '{"type": "integer"}'}),
        (["--regex", "a+"], {"regex": "a+"}),
        (["--grammar", str(lark)], {"grammar": 'start: "a"\n'}),
        (["--choices", "yes", "--choices", "no"], {"choices": ["yes", "no"]}),
    ]:
        assert main(["generate", "x", "-q", *line]) == 0
        assert model.asked[-1] == ("x", {"max_tokens": 128, **expected})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--regex", "a", "--choices", "b"], "regex and choices exclude each other"),
        (["--json-schema", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_mistakes_are_found_before_a_model_is_opened(model, line, words, capsys):
    assert main(["generate", "x", *line]) == 2
    assert words in capsys.readouterr().err
    assert model.opened == []


def test_the_real_command(tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps({"enum": ["red", "green"]}))
    command = [sys.executable, "-m", "genfast", "generate", "The sky is", "-q"]
    done = subprocess.run(
        [*command, "--json-schema", str(schema)], capture_output=True, text=True, encoding="utf-8"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) in ("red", "green")
    broken = subprocess.run(
        [*command, "--regex", "a("], capture_output=True, text=True, encoding="utf-8"
    )
    assert broken.returncode != 0 and broken.stdout == ""
    assert "regex: column 2: unclosed group" in broken.stderr
    assert "Traceback" not in broken.stderr
