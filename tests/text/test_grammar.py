"""The keywords of guided output: what they take, and how a tokenizer looks to a grammar."""

from __future__ import annotations

import json

import pytest

import genfast
from genfast.grammar import grammar_of
from genfast.guided_vocabulary import Vocabulary
from genfast.sampling import Sampling
from genfast.tokenizer import load_tokenizer


def make(**options):
    return Sampling.make({}, options)


def test_json_schema_is_kept_as_text():
    assert json.loads(make(json_schema={"maxItems": 2.0}).json_schema) == {"maxItems": 2}
    assert make(json_schema={"maxItems": 2.0}).json_schema == '{"maxItems": 2}'
    for whatever in (True, "json", "true", {}, "{}"):
        assert make(json_schema=whatever).json_schema == "{}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"json_schema": 3}, "json_schema=3 is not allowed.*a JSON schema"),
        ({"json_schema": "[]"}, r"json_schema=\[\] is not allowed"),
        ({"json_schema": {"const": float("nan")}}, "json_schema cannot be written as JSON"),
        ({"json_schema": {"const": {1, 2}}}, "json_schema cannot be written as JSON.*set"),
        ({"regex": ""}, "regex='' is not allowed.*non-empty"),
        ({"regex": "\ud800"}, "regex holds a lone surrogate at position 0"),
        ({"grammar": 1}, "grammar=1 is not allowed"),
        ({"choices": []}, r"choices=\[\] is not allowed.*list of non-empty strings"),
        ({"choices": "yes"}, "choices='yes' is not allowed"),
        ({"choices": ["a", ""]}, "choices='' is not allowed"),
        ({"choices": ["a"], "regex": "b"}, "regex and choices exclude each other"),
        ({"grammar": "start: x", "json_schema": {}}, "json_schema and grammar exclude"),
        ({"guided_choice": ["a"]}, "did you mean 'choices'"),
    ],
)
def test_wrong_values_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)


def test_a_schema_that_is_no_json_is_a_grammar_error():
    with pytest.raises(genfast.GrammarError, match="line 1 column 6"):
        make(json_schema='{"a":')
    with pytest.raises(genfast.GrammarError, match="false"):
        make(json_schema=False)


@pytest.mark.parametrize("keyword", [None, "json_schema", "regex", "grammar", "choices"])
def test_one_keyword_is_one_grammar(keyword):
    value = ["a"] if keyword == "choices" else "{}"
    grammar = grammar_of(make(**({keyword: value} if keyword else {})))
    assert (grammar.keyword if grammar else None) == keyword


# --- tokenizers ----------------------------------------------------------------------------------

TEXTS = ["a", " a", '{"name": "é"}', "two\nlines\t", "😀 ok", "</s>", "  ", "\x02x", "▁"]


def directories(data):
    yield data / "models/stories260K"
    yield data / "tokenizers/gpt2-bpe"
    yield data / "tokenizers/neox"


def test_forced_text_is_cut_into_the_tokens_of_that_text(data):
    """Whatever a tokenizer does at the beginning of a text."""
    for directory in directories(data):
        tokenizer = load_tokenizer(directory, {})
        vocabulary = Vocabulary(tokenizer, tokenizer.vocab_size, "regex")
        for text in TEXTS:
            ids = vocabulary(text)
            assert b"".join(vocabulary.tokens[i] for i in ids) == text.encode(), (directory, text)
            assert not set(ids) & tokenizer.special_ids


def test_a_byte_that_no_token_has_gives_nothing():
    class Letters:
        rule = genfast.tokenizer.ByteRule()
        special_ids, eos_ids, bos_id = frozenset({2}), [2], None

        def id_to_token(self, token_id):
            return ("a", "b", "<end>", None)[token_id]

        def encode(self, text, add_special_tokens):
            return ["ab".index(c) for c in text if c in "ab"]

    vocabulary = Vocabulary(Letters(), 4, "regex")
    assert vocabulary.tokens == [b"a", b"b", b"<end>", b"", b"<end of the grammar>"]
    assert vocabulary("abba") == [0, 1, 1, 0]
    assert vocabulary("abz") == []
