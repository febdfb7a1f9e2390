"""Prompts for the middle of a text, and what `infill` makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import genfast
import tiny_model
from genfast.infill import NOTATIONS, infill_prompt
from genfast.tokenizer import load_tokenizer
from tiny_tokenizer import code_llama, tiny

GOLDEN = json.loads((Path(__file__).parent / "infill_goldens.json").read_text())


def opened(directory, contents):
    (directory / "tokenizer.json").write_text(json.dumps(contents))
    return load_tokenizer(directory, {})


def letters(notation):
    """Single letters, and the tokens of a notation from 6 on."""
    found = tiny()
    special = [*notation.tokens, *notation.ends]
    base = found["added_tokens"][0]
    found["added_tokens"] += [{**base, "id": 6 + i, "content": t} for i, t in enumerate(special)]
    return found


@pytest.mark.parametrize("prefix, suffix, expected", GOLDEN["cases"])
def test_like_transformers(tmp_path, prefix, suffix, expected):
    tokenizer = opened(tmp_path, code_llama())
    ids, ends = infill_prompt(tokenizer, prefix, suffix)
    assert ids == expected
    assert [tokenizer.id_to_token(i) for i in ends] == ["▁<EOT>"]


def test_the_newer_spelling_of_the_space_gives_the_same(tmp_path):
    """Metaspace before the model, in place of a normalizer."""
    contents = code_llama()
    contents["normalizer"] = None
    contents["pre_tokenizer"] = {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": "first",
        "split": False,
    }
    tokenizer = opened(tmp_path, contents)
    for prefix, suffix, expected in GOLDEN["cases"]:
        assert infill_prompt(tokenizer, prefix, suffix)[0] == expected


@pytest.mark.parametrize("notation", NOTATIONS[1:], ids=lambda n: n.prefix)
def test_each_notation_is_found_by_its_tokens(tmp_path, notation):
    ids, ends = infill_prompt(opened(tmp_path, letters(notation)), "ab", "c")
    assert ids == [6, 2, 3, 7, 4, 8]  # a, b and c are 2, 3 and 4
    assert ends == list(range(9, 9 + len(notation.ends)))


def test_bos_only_where_texts_begin_with_it(tmp_path):
    contents = letters(NOTATIONS[1])
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": "<s>", "add_bos_token": true}')
    assert infill_prompt(opened(tmp_path, contents), "a", "b")[0] == [0, 6, 2, 7, 3, 8]


def test_a_tokenizer_without_such_tokens_is_told_which(tmp_path):
    with pytest.raises(ValueError, match=r"▁<PRE>, ▁<SUF>, ▁<MID>; <fim_prefix>.*<｜fim▁hole｜>"):
        infill_prompt(opened(tmp_path, tiny()), "a", "b")


@pytest.fixture
def model(tmp_path):
    vocabulary = code_llama()
    size = len(vocabulary["model"]["vocab"])
    config = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 44}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": size}
    tiny_model.write_model(tmp_path, config, 4)
    (tmp_path / "tokenizer.json").write_text(json.dumps(vocabulary))
    with genfast.load(tmp_path) as opened:
        yield opened


def test_infill_is_generate_on_these_ids(model):
    ids, [eot] = infill_prompt(model.tokenizer, "ab", "ba")
    options = {"max_tokens": 5, "temperature": 0}
    out = model.infill("ab", "ba", **options)
    assert out.token_ids == model.generate(ids, **options).token_ids
    assert out.usage.prompt_tokens == len(ids)
    ended = model.infill("ab", "ba", logit_bias={eot: 99.0}, **options)
    assert (ended.text, ended.finish_reason) == ("", "stop")
    both = model.infill("ab", "ba", stop_token_ids=[out.token_ids[1]], **options)
    assert both.token_ids == out.token_ids[:2]
    assert both.finish_reason == "stop"


def test_wrong_arguments_are_named(model):
    with pytest.raises(ValueError, match="suffix is int; allowed: str"):
        model.infill("a", 3)
    with pytest.raises(ValueError, match="stop_token_ids"):
        model.infill("a", "b", stop_token_ids=7)
