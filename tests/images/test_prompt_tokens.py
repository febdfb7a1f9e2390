"""T5's spiece.model as a tokenizer of prompts."""

from __future__ import annotations

import io
import json

import pytest
import sentencepiece

from genfast.errors import LoadError
from genfast.images.prompt_tokens import PromptTokens

LINES = ["a red fox in the snow", "the fox and the hound", "snow on a red roof", "a hound dog"]


def train(file, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 20),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    file.write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def test_texts_end_and_are_padded_as_t5s(tmp_path):
    backend = train(tmp_path / "spiece.model", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<pad>"}))
    texts = ["a red hound", "", "  the   snow ☃", "the fox and the hound in the snow on a roof"]
    ids, seen = PromptTokens(tmp_path, 12)(texts)
    for text, row, present in zip(texts, ids, seen, strict=True):
        expected = [*backend.encode(text)[:11], 1]
        assert row.tolist() == expected + [0] * (12 - len(expected))
        assert present.tolist() == [True] * len(expected) + [False] * (12 - len(expected))
    assert seen[3].all() and 2 in ids[2]


def test_bad_models_are_refused(tmp_path):
    train(tmp_path / "spiece.model", eos_piece="<end>")
    with pytest.raises(LoadError, match="the vocabulary lacks '</s>', which every text needs"):
        PromptTokens(tmp_path, 12)
    (tmp_path / "spiece.model").write_bytes(b"no model")
    with pytest.raises(LoadError, match="opening the tokenizer"):
        PromptTokens(tmp_path, 12)
