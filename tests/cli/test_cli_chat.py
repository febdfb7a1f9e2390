"""`genfast chat` over a stub model, at a terminal and from a pipe."""

from __future__ import annotations

import io
import json

import pytest

from genfast.cli import main
from terminal import Tty


@pytest.fixture
def typed(monkeypatch):
    """Types lines at a terminal, then Ctrl-D; a line may be an exception to raise."""

    def type_lines(*lines):
        monkeypatch.setattr("sys.stdin", Tty())
        waiting = iter(lines)

        def answer(prompt=""):
            try:
                line = next(waiting)
            except StopIteration:
                raise EOFError from None
            if isinstance(line, str):
                return line
            raise line

        monkeypatch.setattr("builtins.input", answer)

    return type_lines


def test_chat_keeps_the_conversation(model, typed, capsys):
    typed("Hi", "  ", "More")
    assert main(["chat", "--system", "Be brief.", "--top-k", "3"]) == 0
    out, err = capsys.readouterr()
    assert out == "Hello, world\nHello, world\n\n"
    assert err.count("new tokens") == 2
    roles = [[m["role"] for m in messages] for messages, _ in model.asked]
    assert roles == [["system", "user"], ["system", "user", "assistant", "user"]]
    assert model.asked[1][0][2]["content"] == "Hello, world"
    assert model.asked[0][1] == {"top_k": 3, "max_tokens": 512}


def test_chat_commands(model, typed, capsys):
    typed(
        "Hi", "/reset", "Again", "/system Be odd.", "What", "/nonsense", "/help", "/quit", "never"
    )
    assert main(["chat", "-q"]) == 0
    err = capsys.readouterr().err
    assert "no such command: /nonsense" in err and "/reset" in err
    assert [len(messages) for messages, _ in model.asked] == [1, 1, 2]
    assert model.asked[2][0][0] == {"role": "system", "content": "Be odd."}


def test_chat_ctrl_c_stops_the_answer_and_not_the_program(model, typed, capsys):
    model.interrupt_at = 1
    typed(KeyboardInterrupt(), "Hi", "More")
    assert main(["chat"]) == 0
    out, err = capsys.readouterr()
    assert "Ctrl-D or /quit leaves" in err and "(stopped)" in err
    assert out == "Hello\nHello, world\n\n"
    assert model.asked[1][0][1] == {"role": "assistant", "content": "Hello"}
    assert model.streams_closed == 2


def test_chat_goes_on_after_an_error_of_the_conversation(model, typed, capsys):
    model.fail = ValueError("prompt has 99 tokens; the model's context holds 64")
    typed("much too long", "short")
    assert main(["chat"]) == 0
    assert "context holds 64 (/reset starts anew)" in capsys.readouterr().err
    assert model.asked[1][0] == [{"role": "user", "content": "short"}]


def test_chat_from_a_pipe(model, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n\n/help\n"))
    assert main(["chat", "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["Hello, world"] * 2
    assert json.loads(lines[0])["usage"]["prompt_tokens"] == 4
    assert model.asked[1][0][-1]["content"] == "/help"  # commands are for people
    model.fail = ValueError("no")
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    assert main(["chat"]) == 1


def test_chat_without_a_template_says_so(model, typed, capsys):
    model.tokenizer.chat_template = None
    typed("Hi", "More")
    assert main(["chat", "--system", "S", "--stop", "x"]) == 0
    assert "no chat template" in capsys.readouterr().err
    assert model.asked[0] == (
        "S\nUser: Hi\nAssistant:",
        {"max_tokens": 512, "stop": ["x", "\nUser:"]},
    )
    assert model.asked[1][0] == ("S\nUser: Hi\nAssistant: Hello, world\nUser: More\nAssistant:")


def test_chat_needs_a_tokenizer(model, capsys):
    model.tokenizer = None
    assert main(["chat"]) == 1
    assert "no tokenizer" in capsys.readouterr().err
