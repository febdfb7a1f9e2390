"""`genfast generate` over a stub model: what reaches the model, and what goes to which stream."""

from __future__ import annotations

import io
import json

from genfast.cli import main


def test_generate_streams_to_stdout_and_figures_to_stderr(model, capsys):
    assert main(["generate", "Once"]) == 0
    out, err = capsys.readouterr()
    assert out == "Hello, world\n"
    assert "4 prompt + 3 new tokens (length)" in err
    assert "first token after 12 ms" in err
    assert "decode 10.0 tokens/s" in err and "prefill 400 tokens/s" in err
    assert model.asked == [("Once", {"max_tokens": 128})]
    assert model.closed and model.opened[0][0] is None


def test_generate_options_reach_load_and_generate(model, capsys):
    line = "generate x -m dir --quantize int8 --dtype float32 --kv-dtype int8 --threads 2 -q"
    line += " --window 64 --sinks 4 --adapter one --adapter two"
    line += " --max-tokens 9 --temperature 0.5 --top-k 4 --top-p 0.9 --min-p 0.1 --seed 7"
    line += (
        " --cache-dir kept --repetition-penalty 1.1 --presence-penalty 0.2 --frequency-penalty -0.3"
    )
    line += (
        " --min-tokens 2 --stop a --stop \\n\\n --stop-token-id 5 --logit-bias 3=-1.5 --ignore-eos"
    )
    assert main(line.split()) == 0
    assert model.opened == [
        (
            "dir",
            {
                "quantize": "int8",
                "dtype": "float32",
                "kv_dtype": "int8",
                "window": 64,
                "sinks": 4,
                "device": "auto",
                "gpu_layers": None,
                "tensor_parallel": 1,
                "adapters": ["one", "two"],
                "threads": 2,
                "cache_dir": "kept",
            },
        )
    ]
    assert model.asked == [
        (
            "x",
            {
                "max_tokens": 9,
                "temperature": 0.5,
                "top_k": 4,
                "top_p": 0.9,
                "min_p": 0.1,
                "seed": 7,
                "repetition_penalty": 1.1,
                "presence_penalty": 0.2,
                "frequency_penalty": -0.3,
                "min_tokens": 2,
                "stop": ["a", "\n\n"],
                "stop_token_ids": [5],
                "logit_bias": {3: -1.5},
                "ignore_eos": True,
            },
        )
    ]
    assert capsys.readouterr().err == ""  # --quiet


def test_generate_takes_speculation_and_drafts(model, capsys):
    for word, value in (("auto", "auto"), ("on", True), ("off", False)):
        assert main(["generate", "x", "-q", "--speculate", word]) == 0
        assert repr(model.asked[-1][1]["speculate"]) == repr(value)
    assert main(["generate", "x", "-q", "--draft", "small"]) == 0
    assert model.asked[-1][1]["draft"] == "small" and "speculate" not in model.asked[-1][1]


def test_generate_json(model, capsys):
    assert main(["generate", "x", "--json", "--logprobs", "1"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert out.count("\n") == 1 and err == ""
    assert found["text"] == "Hello, world" and found["token_ids"] == [0, 1, 2]
    assert found["finish_reason"] == "length"
    assert found["usage"]["total_tokens"] == 7
    assert found["timings"]["decode_tokens_per_second"] == 10.0
    assert found["logprobs"][0] == {"token_id": 0, "logprob": -0.5, "top": [[0, -0.5]]}


def test_generate_several(model, capsys):
    assert main(["generate", "x", "--n", "2"]) == 0
    assert capsys.readouterr().out == (
        "--- 1 of 2 ---\nHello, world\n--- 2 of 2 ---\nHello, world1\n"
    )
    assert main(["generate", "x", "--n", "2", "--json"]) == 0
    assert [c["text"] for c in json.loads(capsys.readouterr().out)["choices"]] == [
        "Hello, world",
        "Hello, world1",
    ]


def test_generate_reads_stdin(model, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("Dear é\n\n".encode())))
    assert main(["generate"]) == 0
    assert model.asked[0][0] == "Dear é\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["generate"]) == 1
    assert "stdin is not UTF-8" in capsys.readouterr().err


def test_generate_empty_prompt_is_a_prompt(model):
    assert main(["generate", ""]) == 0
    assert model.asked[0][0] == ""


def test_generate_echo_and_ids(model, capsys):
    assert main(["generate", "Well: ", "--echo"]) == 0
    assert capsys.readouterr().out == "Well: Hello, world\n"
    model.tokenizer = None
    assert main(["generate", "--ids", "5, 6 7"]) == 0
    assert model.asked[-1][0] == [5, 6, 7]
    assert capsys.readouterr().out.split() == ["0", "1", "2"]


def test_infill(model, capsys):
    assert main(["generate", "x = ", "--infill", " + 1", "--echo", "--max-tokens", "9"]) == 0
    assert model.asked[-1][0] == ["x = ", " + 1"]
    assert model.asked[-1][1]["max_tokens"] == 9
    assert capsys.readouterr().out == "x = Hello, world + 1\n"
    assert main(["generate", "x = ", "--infill", " + 1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "Hello, world"
    assert main(["generate", "--ids", "5", "--infill", "a"]) == 2
    assert "--infill and --ids exclude each other" in capsys.readouterr().err


def test_a_final_newline_is_not_doubled(model, capsys):
    model.pieces = ("line\n",)
    assert main(["generate", "x"]) == 0
    assert capsys.readouterr().out == "line\n"
