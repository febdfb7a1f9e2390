"""RWKV's World tokenizer: against BlinkDL's, and in the directories that have it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest

import genfast
import tiny_model
from genfast.tokenizer import load_tokenizer

GOLDENS = Path(__file__).parents[1] / "goldens"
GOLDEN = json.loads((GOLDENS / "world.json").read_text())
LINES = GOLDEN["vocabulary"]
FILE = "rwkv_vocab_v20230424.txt"
CONFIG = {"model_type": "rwkv6", "eos_token_id": 0}


def opened(directory: Path, lines=LINES, file=FILE):
    (directory / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return load_tokenizer(directory, CONFIG)


@pytest.mark.parametrize("file", [FILE, "vocab.txt"])
def test_ids_are_those_of_the_rwkv_package(tmp_path, file):
    lines = LINES
    if file == "vocab.txt":
        literals = [ast.literal_eval(line.partition(" ")[2].rpartition(" ")[0]) for line in lines]
        literals = [t.encode() if isinstance(t, str) else t for t in ("<s>", *literals)]
        lines = list(map(repr, literals))
    tokenizer = opened(tmp_path, lines, file)
    assert tokenizer.vocab_size == len(LINES) + 1 and tokenizer.eos_ids == [0]
    for text, ids in zip(GOLDEN["texts"], GOLDEN["ids"], strict=True):
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == text
    end = tokenizer.special_tokens["eos_token"]
    assert end == ("<s>" if file == "vocab.txt" else "<|rwkv_tokenizer_end_of_text|>")
    ids = tokenizer.encode(f"It{end}{end}so")
    assert ids.count(0) == 2 and tokenizer.decode(ids) == "Itso"
    assert tokenizer.decode(ids, skip_special_tokens=False) == f"It{end}{end}so"


def test_every_token_has_a_name_and_every_text_tokens(tmp_path, rng):
    tokenizer = opened(tmp_path)
    for token_id in range(tokenizer.vocab_size):
        assert tokenizer.token_to_id(tokenizer.id_to_token(token_id)) == token_id
    assert tokenizer.id_to_token(tokenizer.vocab_size) is None
    text = rng.integers(0, 256, 4000, np.uint8).tobytes().decode("utf-8", "replace")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_blank_line_that_directories_call_the_end_is_text(tmp_path):
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": "\n\n"}))
    tokenizer = opened(tmp_path)
    assert tokenizer.eos_ids == [0]
    assert tokenizer.decode(tokenizer.encode("a\n\nb")) == "a\n\nb"


def test_a_model_speaks_it(tmp_path):
    config = {**CONFIG, "hidden_size": 64, "head_size": 16, "num_hidden_layers": 2}
    with np.load(GOLDENS / "families/rwkv6-base.npz") as golden:
        shapes = json.loads(str(golden["shapes"]))
    size = len(LINES) + 1
    shapes["rwkv.embeddings.weight"][0] = shapes["head.weight"][0] = size
    tensors = {name: tiny_model.uniform(3, name, tuple(shape)) for name, shape in shapes.items()}
    tiny_model.write_model(tmp_path, {**config, "vocab_size": size}, 0, tensors=tensors)
    opened(tmp_path)
    options = {"max_tokens": 40, "temperature": 1.0, "seed": 5}
    with genfast.load(tmp_path) as model:
        out = model.generate("Is it so? 你好", **options)
        assert out.text == model.tokenizer.decode(out.token_ids)
        chunks = model.stream("Is it so? 你好", **options)
        assert "".join(chunk.text for chunk in chunks) == out.text


@pytest.mark.parametrize(
    "lines, message",
    [
        (LINES[1:], "no line is the byte 0x00; expected all 256"),
        ([*LINES, "999 'ab' 3"], "'ab' is 2 bytes long, the line says 3"),
        ([*LINES, "5 'ab' 2"], "line 561 has the id 5, as a line before it"),
        ([*LINES, "999 ab 2"], "line 561 is '999 ab 2', expected an id, a token in quotes"),
        ([*LINES, r"999 '\x' 1"], r"line 561: '\\x' is no Python literal"),
        ([*LINES, "999 b'é' 2"], "is no Python literal"),
        ([*LINES, "999 '' 0"], "'' is 0 bytes long"),
        ([*LINES, "999 b'a' + 'b' 2"], "is no Python literal"),
        ([*LINES, ""], "line 561 is '', expected an id"),
        ([*LINES, "999999999 'ab' 2"], "line 561 has the id 999999999, expected at most 4194304"),
    ],
)
def test_a_spoilt_line_is_told(tmp_path, lines, message):
    with pytest.raises(genfast.LoadError, match=message) as refused:
        opened(tmp_path, [*lines, "998 'last' 4"])
    assert FILE in str(refused.value)


def test_a_vocab_txt_of_another_model_is_not_opened(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    assert load_tokenizer(tmp_path, {"model_type": "gpt2"}) is None
