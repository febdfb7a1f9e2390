"""Streaming equals decoding at once, and no character is ever cut."""

from __future__ import annotations

import shutil

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genfast.detokenizer import Detokenizer, StopStrings
from genfast.token_bytes import rule_from_decoder
from genfast.tokenizer import load_tokenizer

SETTINGS = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def kinds(data, tmp_path_factory):
    """A tokenizer of each backend and each kind of decoder."""
    spm = tmp_path_factory.mktemp("spm")
    source = data / "tokenizers/mistral-common/src/mistral_common/data/tokenizer.model.v1"
    shutil.copy(source, spm / "tokenizer.model")
    word_piece = tmp_path_factory.mktemp("word_piece")
    vocab = ["[UNK]", "[CLS]", "un", "##do", "##able", "re", "it", "'", ".", "é", "##🙂"]
    made = tokenizers.Tokenizer(
        tokenizers.models.WordPiece({t: i for i, t in enumerate(vocab)}, unk_token="[UNK]")
    )
    made.add_special_tokens(["[UNK]", "[CLS]"])
    made.decoder = tokenizers.decoders.WordPiece(cleanup=False)
    made.save(str(word_piece / "tokenizer.json"))
    metaspace = tmp_path_factory.mktemp("metaspace")
    vocab = ["<unk>", "▁a", "b", "▁", "▁▁", "c▁", "é"]
    made = tokenizers.Tokenizer(
        tokenizers.models.Unigram([(t, -float(i)) for i, t in enumerate(vocab)], unk_id=0)
    )
    made.add_special_tokens(["<unk>"])
    made.decoder = tokenizers.decoders.Metaspace()
    made.save(str(metaspace / "tokenizer.json"))
    return {
        "gpt2": load_tokenizer(data / "tokenizers/gpt2-bpe", {}),
        "neox": load_tokenizer(data / "tokenizers/neox", {}),
        "stories": load_tokenizer(data / "models/stories260K", {}),
        "sentencepiece": load_tokenizer(spm, {}),
        "word_piece": load_tokenizer(word_piece, {}),
        "metaspace": load_tokenizer(metaspace, {}),
    }


KINDS = ["gpt2", "neox", "stories", "sentencepiece", "word_piece", "metaspace"]


def stream(tokenizer, ids, prompt=(), skip=True):
    detokenizer = Detokenizer(tokenizer, prompt, skip_special_tokens=skip)
    pieces = [detokenizer.push(i) for i in ids]
    return pieces, detokenizer.finish()


@pytest.mark.parametrize("kind", KINDS)
def test_any_ids(kinds, kind):
    """Random ids, so most byte sequences are broken ones."""
    tokenizer = kinds[kind]
    # Half of the ids from the first few hundred: there lie the single bytes.
    some_id = st.one_of(
        st.integers(0, min(300, tokenizer.vocab_size - 1)),
        st.integers(0, tokenizer.vocab_size - 1),
    )

    @SETTINGS
    @given(st.lists(some_id, max_size=30), st.booleans())
    def check(ids, skip):
        pieces, rest = stream(tokenizer, ids, skip=skip)
        assert "".join(pieces) + rest == tokenizer.decode(ids, skip_special_tokens=skip)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_context_of_a_prompt(kinds, kind):
    """Split anywhere: prompt's text plus the stream's is the text of the whole."""
    tokenizer = kinds[kind]
    if kind in ("word_piece", "metaspace"):
        texts = st.lists(st.integers(1, tokenizer.vocab_size - 1), max_size=20)
    else:
        words = st.sampled_from(["Hello", " world", "naïve", "🙂", "生活的", " ", "  ", "\n", "a"])
        text = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.lists(words))
        texts = text.map(lambda t: tokenizer.encode("".join(t)))

    @SETTINGS
    @given(texts, st.integers(0, 40))
    def check(ids, cut):
        prompt, generated = ids[:cut], ids[cut:]
        pieces, rest = stream(tokenizer, generated, prompt)
        whole, before = tokenizer.decode(ids), tokenizer.decode(prompt)
        # A character begun in the prompt belongs to the generation that finishes it.
        before = before.rstrip("\ufffd") if not whole.startswith(before) else before
        assert before + "".join(pieces) + rest == whole
        if "\ufffd" not in whole:
            assert all("\ufffd" not in piece for piece in pieces)

    check()


@pytest.mark.parametrize("kind", ["gpt2", "neox", "stories", "sentencepiece"])
def test_decode_equals_the_library_on_valid_text(kinds, kind, data):
    tokenizer = kinds[kind]
    if kind == "sentencepiece":

        def library(ids):
            return tokenizer._model.decode(ids)
    else:

        def library(ids):
            return tokenizer._backend.decode(ids)

    @SETTINGS
    @given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁")))
    def check(text):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == library(ids)

    check()


def test_byte_level_equals_the_library_on_broken_text(kinds):
    """Also where the bytes are no UTF-8: both put one U+FFFD per maximal broken piece."""
    tokenizer = kinds["gpt2"]

    @SETTINGS
    @given(st.lists(st.integers(0, 400), max_size=40))
    def check(ids):
        assert tokenizer.decode(ids) == tokenizer._backend.decode(ids)

    check()


def test_metaspace_equals_the_library(kinds):
    tokenizer = kinds["metaspace"]

    @SETTINGS
    @given(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    def check(ids):
        assert tokenizer.decode(ids) == tokenizer._backend.decode(ids)

    check()


def test_a_character_in_four_tokens_comes_at_once(kinds):
    for kind in ("stories", "gpt2"):
        tokenizer = kinds[kind]
        ids = tokenizer.encode("a🦄b", add_special_tokens=False)
        assert len(ids) >= 5
        pieces, rest = stream(tokenizer, ids)
        assert "🦄" in pieces and rest == ""


def test_an_unfinished_character_is_replaced_at_the_end_only(kinds):
    tokenizer = kinds["stories"]
    ids = tokenizer.encode("a🦄", add_special_tokens=False)[:-1]
    pieces, rest = stream(tokenizer, ids)
    assert "".join(pieces) == "a" and rest == "\ufffd"


def test_special_tokens_are_left_out_or_kept(kinds):
    tokenizer = kinds["stories"]
    ids = tokenizer.encode("Hi")
    assert "".join(stream(tokenizer, [*ids, 2])[0]) == "Hi"
    assert "".join(stream(tokenizer, [*ids, 2], skip=False)[0]) == "<s> Hi</s>"


def test_ids_beyond_the_vocabulary_are_silent(kinds):
    for kind in KINDS:
        pieces, rest = stream(kinds[kind], [10**6, 10**6 + 1])
        assert "".join(pieces) + rest == ""


def test_work_per_token_does_not_grow(kinds, monkeypatch):
    """A long run of bytes that never becomes a character: each token decodes a bounded window."""
    tokenizer = kinds["word_piece"]
    longest = 0
    original = tokenizer.decode

    def decode(ids, **kwargs):
        nonlocal longest
        longest = max(longest, len(ids))
        return original(ids, **kwargs) + "\ufffd"

    monkeypatch.setattr(tokenizer, "decode", decode)
    stream(tokenizer, [2, 3] * 500)
    assert 0 < longest <= 16


@pytest.mark.parametrize(
    "decoder",
    [
        None,
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {"type": "CTC"},
        {"type": "Metaspace", "replacement": "_"},
        {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteFallback"}]},
        {"type": "Sequence", "decoders": [{"type": "ByteFallback"}]},
        {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"Regex": "x"}, "content": ""},
                {"type": "Fuse"},
            ],
        },
        {
            "type": "Sequence",
            "decoders": [{"type": "Fuse"}, {"type": "Strip", "content": "_", "start": 1}],
        },
    ],
)
def test_decoders_that_are_not_bytewise(decoder):
    assert rule_from_decoder(decoder) is None


# --- stop strings ----------------------------------------------------------------------------


def cut(text, stops):
    """The naive way: the text before the stop string that is complete first."""
    for end in range(1, len(text) + 1):
        found = [s for s in stops if text[:end].endswith(s)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


letters = st.text("ab", max_size=6)


@SETTINGS
@given(st.lists(letters, max_size=12), st.lists(letters.filter(bool), max_size=3))
def test_stop_strings_against_the_naive_way(pieces, stops):
    watch = StopStrings(stops)
    safe, stopped = "", False
    for piece in pieces:
        text, stopped = watch.push(piece)
        safe += text
        # Nothing is held that could not still become part of a stop string.
        assert not watch.held or any(s.startswith(watch.held) for s in stops)
        if stopped:
            break
    safe += watch.finish()
    assert (safe, stopped) == cut("".join(pieces), stops)


def test_stop_string_across_pieces():
    watch = StopStrings(["\n\nUser:", "END"])
    assert watch.push("Hello\n") == ("Hello", False)
    assert watch.push("\nUs") == ("", False)
    assert watch.held == "\n\nUs"
    assert watch.push("ual") == ("\n\nUsual", False)
    assert watch.push(" E") == (" ", False)
    assert watch.push("ND and more") == ("", True)
    assert watch.matched == "END"
    assert watch.push("more") == ("", True)
    assert watch.finish() == ""


def test_no_stop_strings_hold_nothing():
    watch = StopStrings()
    assert watch.push("text") == ("text", False)
    assert watch.finish() == ""


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="empty"):
        StopStrings(["a", ""])
