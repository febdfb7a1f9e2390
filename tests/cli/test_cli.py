"""What all commands share: usage, help, errors and exit codes, terminals and pipes."""

from __future__ import annotations

import io

import pytest

import genfast
from genfast.cli import main
from genfast.errors import LoadError
from terminal import Tty


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("generate x --temperature -1", "temperature=-1.0"),
        ("generate x --top-p 0", "top_p=0.0"),
        ("generate x --max-tokens 0", "max_tokens=0"),
        ("generate x --seed -1", "seed=-1"),
        ("generate x --temperature nan", "temperature=nan"),
        ("generate x --logprobs 3", "--logprobs needs --json"),
        ("generate x --ids 1", "exclude each other"),
        ("generate x --ids a,b", "'a,b' is not a list of token ids"),
        ("generate x --logit-bias 5", "'5' is not ID=NUMBER"),
        ("generate x --quantize int3", "int3"),
        ("generate x --nonsense", "--nonsense"),
        ("chat --top-k x", "--top-k"),
        ("info dir --config file", "exclude each other"),
        ("info --context 0", "--context 0"),
        ("bench --repeat 0", "--repeat 0"),
        ("nonsense", "nonsense"),
    ],
)
def test_wrong_usage_is_2_and_opens_no_model(model, capsys, line, words):
    assert main(line.split()) == 2
    out, err = capsys.readouterr()
    assert words in err and out == "" and "Traceback" not in err
    assert model.opened == []


def test_no_command_shows_help(capsys):
    assert main([]) == 2
    assert "examples:" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", "generate", "chat", "info", "bench"])
def test_help_teaches_by_examples(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert "examples:" in out and "--json" in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == genfast.__version__


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (LoadError("dir/config.json: bad\nfield"), "genfast: error: dir/config.json: bad field\n"),
        (ValueError("prompt is too long"), "genfast: error: prompt is too long\n"),
        (MemoryError(), "genfast: error: MemoryError\n"),
        (RuntimeError("odd"), "genfast: error: RuntimeError: odd\n"),
    ],
)
def test_errors_are_one_line_and_1(model, capsys, error, line):
    model.fail = error
    assert main(["generate", "x"]) == 1
    assert capsys.readouterr() == ("", line)
    model.fail = error
    assert main(["generate", "x", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_stops_generate_with_130(model, capsys):
    model.interrupt_at = 2
    assert main(["generate", "x"]) == 130
    assert capsys.readouterr() == ("Hello, \n", "")
    assert model.streams_closed == 1 and model.closed


def test_broken_pipe_is_quiet(model, monkeypatch, capsys):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    assert main(["generate", "x"]) == 141
    assert capsys.readouterr().err == ""
    assert model.streams_closed == 1


def test_colour_only_on_a_terminal_that_wants_it(model, monkeypatch):
    for environment, coloured in (
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        err = Tty()
        monkeypatch.setattr("sys.stderr", err)
        assert main(["generate", "x"]) == 0
        assert ("\x1b[" in err.getvalue()) == coloured


def test_a_terminal_gets_no_control_characters(model, monkeypatch, capsys):
    model.pieces = ("a\x1b[31mb\x9b\ta\n",)
    assert main(["generate", "x"]) == 0
    assert capsys.readouterr().out == "a\x1b[31mb\x9b\ta\n"  # a file gets what the model said
    out = Tty()
    monkeypatch.setattr("sys.stdout", out)
    assert main(["generate", "x"]) == 0
    assert out.getvalue() == "a\ufffd[31mb\ufffd\ta\n"
