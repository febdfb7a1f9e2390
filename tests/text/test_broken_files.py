"""Broken tokenizer files: each a LoadError naming the file, or a tokenizer that works."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys

import pytest

from genfast.errors import LoadError
from genfast.tokenizer import load_tokenizer
from tiny_tokenizer import template, tiny

BYTELESS = {"a": 0, "b": 1, "ab": 2}

BROKEN = {
    # case: (files, words that the message must hold)
    "empty": ({"tokenizer.json": ""}, ["tokenizer.json", "not JSON"]),
    "cut short": ({"tokenizer.json": json.dumps(tiny())[:90]}, ["not JSON"]),
    "a list": ({"tokenizer.json": "[]"}, ["holds []", "expected a JSON object"]),
    "too deep": ({"tokenizer.json": "[" * 100_000}, ["nested too deeply"]),
    "no model": ({"tokenizer.json": "{}"}, ["model is None"]),
    "no vocabulary": ({"tokenizer.json": {"model": {"type": "BPE"}}}, ["model.vocab"]),
    "id is text": (
        {"tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": "0"}, "merges": []}}},
        ["model.vocab['a']", "'0'"],
    ),
    "id below zero": (
        {"tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}},
        ["model.vocab['a']", "-1"],
    ),
    "id too large": (
        {"tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": 2**32 - 1}, "merges": []}}},
        ["model.vocab['a']"],
    ),
    "merge of unknown": (
        {"tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}},
        ["tokenizer.json", "out of vocabulary"],
    ),
    "unknown model": (
        {"tokenizer.json": {"model": {"type": "XYZ", "vocab": {"a": 0}}}},
        ["tokenizer.json", "opening"],
    ),
    "unknown decoder": ({"tokenizer.json": tiny(decoder={"type": "XYZ"})}, ["tokenizer.json"]),
    "bad regex": (
        {
            "tokenizer.json": tiny(
                normalizer={"type": "Replace", "pattern": {"Regex": "(("}, "content": "x"}
            )
        },
        ["tokenizer.json", "parenthesis"],
    ),
    "template without its token": (
        {"tokenizer.json": tiny(post_processor={**template("<s>", "A"), "special_tokens": {}})},
        ["post_processor.single", "'<s>'"],
    ),
    "template token without ids": (
        {
            "tokenizer.json": tiny(
                post_processor={
                    "type": "Sequence",
                    "processors": [{**template("A"), "special_tokens": {"<s>": {"ids": [-3]}}}],
                }
            )
        },
        ["post_processor.processors[0].special_tokens", "-3"],
    ),
    "added token without content": (
        {"tokenizer.json": tiny(added_tokens=[{"id": 3}])},
        ["added_tokens[0]"],
    ),
    "config is a list": ({"tokenizer_config.json": "[]"}, ["tokenizer_config.json", "holds []"]),
    "bos is a number": ({"tokenizer_config.json": {"bos_token": 3}}, ["bos_token is 3"]),
    "bos without content": ({"tokenizer_config.json": {"bos_token": {}}}, ["bos_token"]),
    "flag is text": ({"tokenizer_config.json": {"add_bos_token": "yes"}}, ["add_bos_token", "yes"]),
    "template is a number": ({"tokenizer_config.json": {"chat_template": 3}}, ["chat_template"]),
    "template without name": (
        {"tokenizer_config.json": {"chat_template": [{"template": "x"}]}},
        ["chat_template[0]"],
    ),
    "added decoder is a list": (
        {"tokenizer_config.json": {"added_tokens_decoder": [1]}},
        ["added_tokens_decoder"],
    ),
    "added decoder key": (
        {"tokenizer_config.json": {"added_tokens_decoder": {"x": {"content": "y"}}}},
        ["added_tokens_decoder", "'x'"],
    ),
    "added decoder entry": (
        {"tokenizer_config.json": {"added_tokens_decoder": {"3": {}}}},
        ["added_tokens_decoder['3']"],
    ),
    "added_tokens id": ({"added_tokens.json": {"x": -4}}, ["added_tokens.json", "'x'", "-4"]),
    "not UTF-8": ({"chat_template.jinja": b"\xff\xfe"}, ["chat_template.jinja", "UTF-8"]),
    "chat_template.json empty": ({"chat_template.json": {}}, ["chat_template.json"]),
    "eos is text": (
        {"generation_config.json": {"eos_token_id": "</s>"}},
        ["generation_config.json", "eos_token_id", "</s>"],
    ),
    "eos list holds text": (
        {"generation_config.json": {"eos_token_id": [1, None]}},
        ["eos_token_id", "None"],
    ),
    "vocab.json is empty": ({"vocab.json": {}, "merges.txt": ""}, ["vocab.json", "no tokens"]),
    "vocab.json id": ({"vocab.json": {"a": 0.5}, "merges.txt": ""}, ["vocab.json", "0.5"]),
    "vocab.json same id": ({"vocab.json": {"a": 0, "b": 0}, "merges.txt": ""}, ["same id"]),
    "merges: three words": (
        {"vocab.json": BYTELESS, "merges.txt": "#version: 0.2\na b\na b c\n"},
        ["merges.txt", "line 3"],
    ),
    "merges: unknown": (
        {"vocab.json": BYTELESS, "merges.txt": "a z\n"},
        ["merges.txt", "line 1", "'z'"],
    ),
    "merges: not UTF-8": (
        {"vocab.json": BYTELESS, "merges.txt": b"\xff\xff"},
        ["merges.txt", "UTF-8"],
    ),
    "CLIP": (
        {
            "vocab.json": BYTELESS,
            "merges.txt": "",
            "tokenizer_config.json": {"tokenizer_class": "CLIPTokenizer"},
        },
        ["CLIPTokenizer", "tokenizer.json"],
    ),
    "sentencepiece is empty": ({"tokenizer.model": ""}, ["tokenizer.model", "empty"]),
    "sentencepiece is JSON": ({"tokenizer.model": "{}"}, ["tokenizer.model"]),
}


def write(folder, files):
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("case", BROKEN)
def test_message_names_file_and_field(case, tmp_path):
    files, words = BROKEN[case]
    if not {"tokenizer.json", "vocab.json", "tokenizer.model"} & set(files):
        files = {"tokenizer.json": tiny(), **files}
    write(tmp_path, files)
    with pytest.raises(LoadError) as caught:
        load_tokenizer(tmp_path, {})
    for word in words:
        assert word in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_eos_in_config_names_config(tmp_path):
    write(tmp_path, {"tokenizer.json": tiny()})
    with pytest.raises(LoadError, match=r"config\.json: 'eos_token_id' has the id 1\.5"):
        load_tokenizer(tmp_path, {"eos_token_id": 1.5})


JUNK = [None, True, -1, 2**40, 1.5, "x", "", [], [None], {}, {"type": "BPE"}, {"a": {"b": []}}]


def mutate(value, rng):
    """Replaces, removes or renames something at a random place of a JSON value, in place."""
    spots = []

    def walk(node):
        children = node.items() if isinstance(node, dict) else enumerate(node)
        for key, child in children:
            spots.append((node, key))
            if isinstance(child, dict | list):
                walk(child)

    walk(value)
    node, key = spots[rng.integers(len(spots))]
    action = rng.integers(3)
    if action == 0:
        node[key] = copy.deepcopy(JUNK[rng.integers(len(JUNK))])
    elif action == 1:
        del node[key]
    elif isinstance(node, dict):
        node[f"{key}?"] = node.pop(key)
    else:
        node.insert(key, node[key])


def test_mutated_json_files(tmp_path, rng, capfd):
    """300 random wrongs in tokenizer.json or tokenizer_config.json."""
    raised = 0
    config = {
        "bos_token": "<s>",
        "eos_token": {"content": "</s>"},
        "add_bos_token": True,
        "chat_template": [{"name": "default", "template": "x"}],
        "added_tokens_decoder": {"0": {"content": "<s>", "special": True}},
    }
    for _ in range(300):
        files = {
            "tokenizer.json": tiny(
                post_processor=template("<s>", "A"),
                normalizer={"type": "Prepend", "prepend": "▁"},
            ),
            "tokenizer_config.json": copy.deepcopy(config),
        }
        mutate(files["tokenizer.json" if rng.random() < 0.7 else "tokenizer_config.json"], rng)
        write(tmp_path, files)
        try:
            tokenizer = load_tokenizer(tmp_path, {"eos_token_id": 1})
        except LoadError as error:
            raised += 1
            assert str(tmp_path) in str(error)
        else:
            tokenizer.decode(tokenizer.encode("ab"))
    assert raised > 50
    assert "panicked" not in capfd.readouterr().err


SPM_FUZZ = """
import sys
from pathlib import Path
import numpy as np
from genfast.errors import LoadError
from genfast.tokenizer import load_tokenizer

folder, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(seed)
whole = (folder / "whole").read_bytes()
raised = 0
for _ in range(count):
    data = bytearray(whole)
    if rng.random() < 0.3:
        data = data[: rng.integers(len(data))]
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(len(data))) if data else 0
        data[at : at + 1] = bytes(rng.integers(0, 256, 1, dtype=np.uint8))
    (folder / "tokenizer.model").write_bytes(bytes(data))
    try:
        tokenizer = load_tokenizer(folder, {})
    except LoadError as error:
        assert "tokenizer.model" in str(error)
        raised += 1
    else:
        tokenizer.decode(tokenizer.encode("It was a dark night.\\n"))
print(raised)
"""


def test_mutated_sentencepiece_models(data, tmp_path, rng):
    """In a process of its own, so that a crash of the library would be a failure and no more."""
    shutil.copy(data / "tokenizers/sentencepiece/test_model.model", tmp_path / "whole")
    seed = str(rng.integers(2**31))
    command = [sys.executable, "-c", SPM_FUZZ, str(tmp_path), seed, "60"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-2000:]}"
    assert int(done.stdout) > 5
