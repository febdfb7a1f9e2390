"""tokenizer.model: sentencepiece, with the conventions of the Llama tokenizers that use it.

The sentencepiece library knows nothing of the tokens that a prompt spells out (`<s>`, `[INST]`)
or that were added to the vocabulary later, so the text is cut at those first and only what lies
between them is given to it.
"""

from __future__ import annotations

import re
from pathlib import Path

import sentencepiece

from genfast.errors import LoadError
from genfast.token_bytes import SENTENCEPIECE, ByteRule
from genfast.tokenizer import AddedToken, TextConfig, Tokenizer, backend_errors

# Protocol buffers merge fields that come twice, so these bytes appended to a model switch its
# normalizer_spec.add_dummy_prefix off: ModelProto field 3 { NormalizerSpec field 3: false }.
_NO_DUMMY_PREFIX = b"\x1a\x02\x18\x00"


class SentencePieceTokenizer(Tokenizer):
    """A sentencepiece model behind our protocol."""

    def __init__(self, path: Path, model: bytes, text: TextConfig) -> None:
        self._model = _open(path, model)
        size = self._model.vocab_size()
        self._pieces = [self._model.id_to_piece(i) for i in range(size)]
        self._prefixes = self._model.encode("x", out_type=str)[:1] != ["x"]
        if self._prefixes and text.add_prefix_space is False:
            self._model, self._prefixes = _open(path, model + _NO_DUMMY_PREFIX), False
        # After a token cut out of the text, Llama's first tokenizers put a space ("legacy"),
        # later ones none.
        self._inner = self._model
        if self._prefixes and not text.legacy:
            self._inner = _open(path, model + _NO_DUMMY_PREFIX)
        self.rule = (
            SENTENCEPIECE
            if self._prefixes
            else ByteRule(replace=SENTENCEPIECE.replace, byte_fallback=True)
        )
        self._added = self._collect_added(path, text)
        self._ids = {token.content: i for i, token in self._added.items()}
        self._splitter = _splitter(self._added.values())
        self.vocab_size = max([size, *(i + 1 for i in self._added)])
        if text.add_bos is None:  # Llama's habit: a BOS, no EOS, where the model has one
            text.add_bos = self._model.bos_id() >= 0
        named = (("bos_token", self._model.bos_id()), ("eos_token", self._model.eos_id()))
        for role, token_id in named:
            if token_id >= 0:
                text.named.setdefault(role, self._pieces[token_id])
        special = {i for i, token in self._added.items() if token.special}
        super().__init__(text, special)

    def _collect_added(self, path: Path, text: TextConfig) -> dict[int, AddedToken]:
        """Control pieces of the model, then what the directory adds."""
        size = len(self._pieces)
        added = {
            i: AddedToken(piece, special=True)
            for i, piece in enumerate(self._pieces)
            if self._model.is_control(i) or self._model.is_unknown(i)
        }
        for token_id, token in text.added.items():
            if not token.content:
                continue
            if token_id >= size + len(text.added) + 64 * 1024:
                raise LoadError(
                    f"{path}: has {size} pieces, and the directory adds {token.content!r} with "
                    f"the id {token_id}, far beyond them"
                )
            added[token_id] = token
        taken = {token.content: i for i, token in added.items()}
        for content in text.named.values():
            token_id = taken.get(content)
            if token_id is None:
                token_id = self._piece_id(content)
            if token_id is not None and not (token_id in added and added[token_id].special):
                added[token_id] = AddedToken(content, special=True)
        return added

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        ids: list[int] = []
        for index, part in enumerate(self._splitter.split(text) if self._splitter else [text]):
            if index % 2:  # a token of its own, with the spaces that it swallows
                found = self._ids.get(part)
                ids.append(self._ids[part.strip()] if found is None else found)
            elif part:
                model = self._model if index == 0 else self._inner
                ids += model.encode(part)
        return ids

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        raise AssertionError("sentencepiece tokens always have a byte rule")

    def token_to_id(self, token: str) -> int | None:
        found = self._ids.get(token)
        return self._piece_id(token) if found is None else found

    def _piece_id(self, piece: str) -> int | None:
        found = self._model.piece_to_id(piece)  # the id of <unk> for what it does not know
        known = 0 <= found < len(self._pieces) and self._pieces[found] == piece
        return found if known else None

    def id_to_token(self, token_id: int) -> str | None:
        token = self._added.get(token_id)
        if token is not None:
            return token.content
        return self._pieces[token_id] if token_id < len(self._pieces) else None


def _splitter(added) -> re.Pattern[str] | None:
    """A pattern whose split gives text, token, text, token … the longest token first."""
    patterns = []
    for token in sorted(added, key=lambda t: -len(t.content)):
        pattern = re.escape(token.content)
        if token.single_word:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        pattern = (r"\s*" if token.lstrip else "") + pattern + (r"\s*" if token.rstrip else "")
        patterns.append(pattern)
    return re.compile("(" + "|".join(patterns) + ")") if patterns else None


def _open(path: Path, model: bytes) -> sentencepiece.SentencePieceProcessor:
    with backend_errors(path, "opening the sentencepiece model"):
        return sentencepiece.SentencePieceProcessor(model_proto=model)


def load_sentencepiece(path: Path, text: TextConfig) -> SentencePieceTokenizer:
    """Opens a tokenizer.model."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not model:
        raise LoadError(f"{path}: is empty, expected a sentencepiece model")
    with backend_errors(path, "trying the sentencepiece model on a short text"):
        tokenizer = SentencePieceTokenizer(path, model, text)
        tokenizer.encode("a b")
    return tokenizer
