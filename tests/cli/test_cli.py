"""The command line over a stub model: what goes to which stream, and the exit codes."""

from __future__ import annotations

import io
import json
import re

import pytest
from stub_model import StubModel

import genfast
from genfast.cli import main
from genfast.errors import LoadError


@pytest.fixture
def model(monkeypatch):
    """The model that every command opens; `.opened` tells how."""
    stub = StubModel()
    stub.opened = []

    def load(path=None, **options):
        stub.opened.append((path, options))
        return stub

    monkeypatch.setattr(genfast, "load", load, raising=False)
    return stub


class Tty(io.StringIO):
    def isatty(self):
        return True


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
    line += " --max-tokens 9 --temperature 0.5 --top-k 4 --top-p 0.9 --min-p 0.1 --seed 7"
    line += " --repetition-penalty 1.1 --presence-penalty 0.2 --frequency-penalty -0.3"
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
                "device": "auto",
                "threads": 2,
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


def test_a_final_newline_is_not_doubled(model, capsys):
    model.pieces = ("line\n",)
    assert main(["generate", "x"]) == 0
    assert capsys.readouterr().out == "line\n"


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


# --- chat ------------------------------------------------------------------------------------


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


# --- info and bench --------------------------------------------------------------------------

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    return path


def test_info_counts_a_published_model(config, capsys):
    """TinyLlama: 1,100,048,384 parameters; every size follows by hand."""
    assert main(["info", "--config", str(config), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == 1_100_048_384
    assert facts["layers"] == 22 and facts["context"] == 2048
    per_token = facts["kv_bytes_per_token"]
    assert per_token["float32"] == 22 * 2 * 4 * 64 * 4 == 2 * per_token["bfloat16"]
    assert per_token["int8"] == 22 * 2 * 4 * (64 + 4)
    memory = facts["memory"]
    table, head = 32000 * 2048, 32000 * 2048
    norms = (22 * 2 + 1) * 2048
    matrices = facts["parameters"] - table - head - norms
    assert memory["float32"]["weights_bytes"] == 4 * facts["parameters"]
    assert memory["bfloat16"]["weights_bytes"] == 2 * (facts["parameters"] - norms) + 4 * norms
    # int4: 18 bytes for 32 weights of a row; the logits' matrix is int8 with 8 bytes a row.
    int4 = matrices // 32 * 18 + (head + 8 * 32000) + 2 * table + 4 * norms
    assert memory["int4"]["weights_bytes"] == int4
    assert memory["bfloat16"]["kv_bytes"] == 2048 * per_token["bfloat16"]


def test_info_for_people(config, capsys):
    (config.parent / "model.safetensors").write_bytes(bytes(1000))
    assert main(["info", str(config.parent), "--context", "512"]) == 0
    out = capsys.readouterr().out
    assert "LlamaForCausalLM" in out and "1.1 billion" in out and "bfloat16" in out
    assert "KV cache of 512 tokens" in out and "1e+03" not in out
    assert genfast.cpu_info()["isa"] in out


def test_info_of_what_is_not_there(tmp_path, capsys):
    assert main(["info", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert main(["info", "--config", str(tmp_path / "no.json"), "--json"]) == 1
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    assert main(["info", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "no_such_model" in err and "llama" in err and "Traceback" not in err


CEILINGS = {"read_gb_s": 10.0, "fp32_gflops": 100.0, "int8_gops": 400.0, "bf16_gflops": 0.0}


@pytest.fixture
def machine(monkeypatch):
    import sys
    import types

    module = types.ModuleType("genfast.machine")
    module.measure = lambda repeats=7: dict(CEILINGS)
    monkeypatch.setitem(sys.modules, "genfast.machine", module)
    monkeypatch.setattr(genfast, "machine", module, raising=False)


def test_bench_machine(model, machine, capsys):
    assert main(["bench", "--machine"]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"read bandwidth +10\.0 GB/s", out) and re.search(r"int8 +400\.0 Gop/s", out)
    assert "bfloat16" not in out and "measuring" in err  # 0: this CPU has none
    assert main(["bench", "--machine", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"machine": CEILINGS}
    assert model.opened == []


def test_bench_of_a_model(model, machine, monkeypatch, capsys):
    from types import SimpleNamespace

    sizes = SimpleNamespace(body_parameters=1_000_000, logits_parameters=58_000)
    monkeypatch.setattr("genfast.sizing.sizes_of", lambda *_: sizes)
    line = "bench dir --json --prompt-tokens 1000 --new-tokens 6 --repeat 2"
    assert main(line.split()) == 0
    report = json.loads(capsys.readouterr().out)
    # 64 positions less 6 new tokens bound the prompt; 2 runs and one to warm up.
    prompts = [prompt for prompt, _ in model.asked]
    assert [len(p) for p in prompts] == [58] * 3 and prompts[0] != prompts[1] != prompts[2]
    # 400 tokens/s at 2 operations for each of a million weights of 32 bits; logits for one of 58.
    assert report["prefill"]["gflop_s"] == pytest.approx(0.8008)
    assert report["prefill"]["of_machine"] == pytest.approx(0.008008)
    assert report["prefill"]["ceiling"] == "fp32_gflops"
    # 10 tokens/s, each reading 4 MB of weights and (58 + 3) tokens of KV.
    assert report["decode"]["gb_s"] == pytest.approx(10 * (4e6 + 61 * 100) / 1e9)
    assert report["decode"]["of_machine"] == pytest.approx(report["decode"]["gb_s"] / 10)
    assert main(["bench", "dir"]) == 0
    assert "of the read bandwidth" in capsys.readouterr().out
    model.context_length = 3
    assert main(["bench", "dir"]) == 1
