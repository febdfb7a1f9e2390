"""What files say about each other: accidents are told, and real files are not accused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

import genfast
import tiny_model
from genfast import conformance
from genfast.tokenizer import load_tokenizer
from genfast.vocabulary import bpe_findings

# Neither renders without variables of its own, in transformers either.
TEMPLATES_THAT_FAIL = {"MiroThinker.jinja", "fireworks-ai-llama-3-firefunction-v2.jinja"}
MANY = 1 << 30


def found(directory, config=None, generation=None, vocab_size=MANY):
    config, generation = config or {}, generation or {}
    tokenizer = load_tokenizer(directory, config)
    return conformance.findings(directory, config, generation, tokenizer, vocab_size)


@pytest.fixture(params=["gpt2", "neox", "stories260K"])
def real(request, data, tmp_path) -> Path:
    """A directory with a real tokenizer, to spoil."""
    files = {
        "gpt2": [data / "tokenizers/gpt2-bpe" / name for name in ("encoder.json", "vocab.bpe")],
        "neox": [data / "tokenizers/neox/tokenizer.json"],
        "stories260K": [
            data / "models/stories260K" / name
            for name in ("tokenizer.json", "tokenizer_config.json")
        ],
    }[request.param]
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


class Opened:
    """The vocabulary and merges of a directory, wherever it keeps them."""

    def __init__(self, directory: Path) -> None:
        self.file, self.whole = directory / "tokenizer.json", None
        if self.file.exists():
            self.whole = json.loads(self.file.read_text())
            self.vocab, self.merges = self.whole["model"]["vocab"], self.whole["model"]["merges"]
        else:
            self.file, self.other = directory / "encoder.json", directory / "vocab.bpe"
            self.vocab = json.loads(self.file.read_text())
            self.merges = self.other.read_text(encoding="utf-8").split("\n")[1:-1]

    def token(self, place: int) -> str:
        """Made by the merge at a place."""
        merge = self.merges[place]
        return merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)

    def swap(self, a: str, b: str) -> None:
        self.vocab[a], self.vocab[b] = self.vocab[b], self.vocab[a]

    def save(self) -> None:
        self.file.write_text(json.dumps(self.whole or self.vocab))
        if self.whole is None:
            self.other.write_text("#version\n" + "\n".join(self.merges) + "\n", encoding="utf-8")


def test_real_tokenizers_are_left_alone(real):
    assert found(real) == []


@pytest.mark.parametrize("a, b", [(20, 21), (10, 150), (0, -1)])
def test_swapped_ids_are_told(real, a, b):
    opened = Opened(real)
    pair = opened.token(a), opened.token(b)
    opened.swap(*pair)
    opened.save()
    [first, *_] = findings = found(real)
    assert opened.file.name in first
    assert any(repr(token) in finding for finding in findings for token in pair)


def test_swapped_bytes_are_told(real):
    opened = Opened(real)
    pair = ("<0x41>", "<0x61>") if "<0x41>" in opened.vocab else ("A", "a")
    opened.swap(*pair)
    opened.save()
    assert any("the other way round" in finding for finding in found(real))


@pytest.mark.parametrize("ways", [1, 3])
def test_a_vocabulary_in_any_order_has_the_same_oddity(rng, ways):
    """Where it is that of the merges, these are not looked up one by one. ways: to make a token."""
    letters = [chr(0x100 + i) for i in range(64)]
    pairs = list(dict.fromkeys(tuple(rng.choice(letters, 2)) for _ in range(2000)))
    tokens = [*letters, *map("".join, pairs)]
    a, b = rng.choice(np.arange(64, len(tokens)), 2, replace=False)
    ids = {token: i for i, token in enumerate(tokens)}
    ids[tokens[a]], ids[tokens[b]] = int(b), int(a)
    shuffled = {tokens[i]: ids[tokens[i]] for i in rng.permutation(len(tokens))}
    merges = [pair for pair in pairs for _ in range(rng.integers(1, ways + 1))]
    options = {"added": (), "byte_level": False, "byte_fallback": False}
    for spelling in (merges, list(map(" ".join, merges))):
        found = bpe_findings(ids, spelling, **options)
        assert any(repr(tokens[i]) in finding for finding in found for i in (a, b))
        assert bpe_findings(shuffled, spelling, **options) == found


def test_a_dropped_merge_is_told(real):
    opened = Opened(real)
    token = opened.token(-1)
    del opened.merges[-1]
    opened.save()
    assert any(f"no merge makes {token!r}" in finding for finding in found(real))


def test_a_lost_byte_is_told(data, tmp_path):
    shutil.copy(data / "tokenizers/neox/tokenizer.json", tmp_path)
    opened = Opened(tmp_path)
    opened.vocab["unheard of"] = opened.vocab.pop("~")
    opened.merges = opened.whole["model"]["merges"] = [
        merge for merge in opened.merges if "~" not in "".join(merge)
    ]
    opened.save()
    findings = found(tmp_path)
    assert any("1 bytes have no token ('~')" in finding for finding in findings)
    assert not any("does not give back" in finding for finding in findings)  # the probe has none


def test_absurd_ids_cost_nothing():
    vocab = {"a": 0, "b": 2**31 - 1}
    assert bpe_findings(vocab, ["a b"], (), byte_level=True, byte_fallback=False) == []


def test_an_id_of_two_tokens_is_told():
    [finding] = bpe_findings({"a": 0, "b": 0}, [], (), byte_level=False, byte_fallback=False)
    assert "the id of 'a' (0) is another token's too" in finding


def test_a_probe_that_comes_back_changed_is_told(data, tmp_path):
    shutil.copy(data / "tokenizers/neox/tokenizer.json", tmp_path)
    opened = Opened(tmp_path)
    opened.whole["normalizer"] = {"type": "Lowercase"}
    opened.save()
    assert any("'the year' instead of 'The year'" in finding for finding in found(tmp_path))


def test_changed_added_tokens_are_told(data, tmp_path):
    shutil.copy(data / "tokenizers/neox/tokenizer.json", tmp_path)
    decoder = {"0": {"content": "<|padding|>"}, "1": {"content": "<|endoftext|>"}}
    text = json.dumps({"added_tokens_decoder": decoder, "eos_token": "<|nowhere|>"})
    (tmp_path / "tokenizer_config.json").write_text(text)
    findings = found(tmp_path)
    assert any(
        "id 0 is '<|endoftext|>' in the vocabulary and '<|padding|>' in tokenizer_config.json" in f
        for f in findings
    )
    assert any('eos_token "<|nowhere|>" is not in its vocabulary' in f for f in findings)


@pytest.mark.parametrize(
    "config, generation, words",
    [
        ({"eos_token_id": 7}, {}, 'eos_token "</s>" has the id 2; config.json'),
        ({"eos_token_id": 7}, {"eos_token_id": [8]}, "config.json: eos_token_id: 7, generation"),
        ({"bos_token_id": 2}, {}, 'bos_token "<s>" has the id 1'),
        ({"eos_token_id": 900}, {}, "eos_token_id: 900 is not below config.json: vocab_size 512"),
        ({"eos_token_id": [2, 7]}, {"eos_token_id": 2}, None),
        ({"bos_token_id": None, "eos_token_id": -1}, {"eos_token_id": [7, 2]}, None),
    ],
)
def test_special_ids_that_differ_are_told(data, config, generation, words):
    findings = found(data / "models/stories260K", config, generation, vocab_size=512)
    if words is None:
        assert findings == []
    else:
        assert any(words in finding for finding in findings), findings


def test_ids_that_the_model_lacks_are_told(data):
    [finding] = found(data / "models/stories260K", vocab_size=511)
    assert "the tokenizer has 512 ids, config.json: vocab_size 511" in finding


def test_templates_that_fail_are_told(data, tmp_path):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(data / "models/stories260K" / file, tmp_path)
    template = tmp_path / "chat_template.jinja"
    template.write_text("{{ raise_exception('never') }}")
    [finding] = found(tmp_path)
    assert "does not render a plain conversation: chat template: never" in finding
    template.write_text("{{ bos_token }}")
    [finding] = found(tmp_path)
    assert "leaves out what the user says" in finding


def test_real_templates_are_left_alone(data):
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    files = sorted((data / "templates").rglob("*.jinja"))
    failed = set()
    for file in files:
        template = file.read_text(encoding="utf-8")
        if list(conformance.template_findings(template, tokens)):
            failed.add(file.name)
    assert len(files) > 90
    assert failed == TEMPLATES_THAT_FAIL


def test_real_configs_are_left_alone(data):
    seen = 0
    for file in [*data.glob("configs/hf/*/config.json"), *data.glob("configs/recent/*.json")]:
        generation = file.parent / "generation_config.json"
        try:
            config = json.loads(file.read_text())
            more = json.loads(generation.read_text()) if generation.exists() else {}
        except ValueError:  # one of them is broken as it was published
            continue
        if not isinstance(config, dict):
            continue
        size = config.get("vocab_size") or MANY
        assert conformance.findings(file.parent, config, more, None, size) == [], file
        seen += 1
    assert seen > 100


def test_load_logs_what_is_found(data, tmp_path, caplog):
    model = data / "models/stories260K"
    for file in model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    with caplog.at_level(logging.WARNING, "genfast"):
        genfast.load(tmp_path).close()
        assert caplog.records == []
        (tmp_path / "config.json").unlink()
        config = json.loads((model / "config.json").read_text()) | {"bos_token_id": 5}
        (tmp_path / "config.json").write_text(json.dumps(config))
        genfast.load(tmp_path).close()
    assert any("bos_token" in record.getMessage() for record in caplog.records)


def test_the_bundled_model_is_left_alone(caplog):
    with caplog.at_level(logging.WARNING, "genfast"):
        genfast.load().close()
    assert caplog.records == []


def test_directories_without_a_tokenizer(tmp_path):
    config = {"model_type": "llama", "eos_token_id": 70, "vocab_size": 64}
    tiny_model.write_safetensors(tmp_path / "model.safetensors", {})
    [finding] = found(tmp_path, config, vocab_size=64)
    assert "config.json: eos_token_id: 70" in finding
