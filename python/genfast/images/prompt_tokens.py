"""Prompts to rows of token ids, all of a length: the tokenizers of image pipelines.

A folder holds a tokenizer.json, or vocab.json and merges.txt of CLIP's byte-pair encoding (lower
case, words end in "</w>"; Radford et al., 2021), or the spiece.model of T5 (sentencepiece).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers

from genfast.config import read_object
from genfast.errors import LoadError
from genfast.tokenizer import backend_errors

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_Encode = Callable[[str], list[int]]
_Find = Callable[[str], int | None]
_BOS, _EOS = "<|startoftext|>", "<|endoftext|>"


class PromptTokens:
    """tokens(texts) → ids [N, length], and which are no padding [N, length]."""

    def __init__(self, folder: Path, length: int) -> None:
        self.folder, self.length = folder, length
        self._before: list[int] = []  # of what a text's own tokens stand between
        self._after: list[int] = []
        with backend_errors(folder, "opening the tokenizer"):
            if (folder / "tokenizer.json").is_file():
                text = (folder / "tokenizer.json").read_text("utf-8-sig")
                backend = tokenizers.Tokenizer.from_str(text)
                backend.no_truncation()
                backend.no_padding()
                self._encode, self._find = _whole(backend)
                self._end = self._encode("")[-1:] or [self._id("</s>")]
            elif (folder / "spiece.model").is_file():
                self._encode, self._find = _pieces((folder / "spiece.model").read_bytes())
                self._end = self._after = [self._id("</s>")]
            else:
                self._encode, self._find = _whole(_clip_backend(folder))
                self._before, self._end = [self._id(_BOS)], [self._id(_EOS)]
                self._after = self._end
        self.pad = self._pad_id()

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """A text that is too long loses its end, as upstream."""
        ids = np.full((len(texts), self.length), self.pad, np.int64)
        seen = np.zeros(ids.shape, bool)
        for row, text in enumerate(texts):
            found = [*self._before, *self._encode(text), *self._after]
            if len(found) > self.length:
                found = found[: self.length - 1] + self._end
            ids[row, : len(found)] = found
            seen[row, : len(found)] = True
        return ids, seen

    def _id(self, token: str) -> int:
        found = self._find(token)
        if found is None:
            raise LoadError(
                f"{self.folder}: the vocabulary lacks {token!r}, which every text needs"
            )
        return found

    def _pad_id(self) -> int:
        for name in ("special_tokens_map.json", "tokenizer_config.json"):
            file = self.folder / name
            token = read_object(file).get("pad_token") if file.is_file() else None
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                return self._id(token)
        return self._end[0] if self._before else 0


def _whole(backend: tokenizers.Tokenizer) -> tuple[_Encode, _Find]:
    return (lambda text: backend.encode(text).ids), backend.token_to_id


def _pieces(model: bytes) -> tuple[_Encode, _Find]:
    from sentencepiece import SentencePieceProcessor  # here, as most folders need none

    backend = SentencePieceProcessor(model_proto=model)
    known = {backend.id_to_piece(i): i for i in range(backend.get_piece_size())}
    return (lambda text: backend.encode(text)), known.get


def _clip_backend(folder: Path) -> tokenizers.Tokenizer:
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise LoadError(f"{folder}: no tokenizer.json, and no {name} of CLIP's either")
    model = models.BPE.from_file(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        end_of_word_suffix="</w>",
        continuing_subword_prefix="",
        unk_token=_EOS,
    )
    backend = tokenizers.Tokenizer(model)
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    special = [t for t in (_BOS, _EOS) if backend.token_to_id(t) is not None]
    backend.add_special_tokens([tokenizers.AddedToken(t, special=True) for t in special])
    return backend


def texts_of(name: str, prompt: object) -> list[str]:
    """One text or a list of them, checked."""
    texts = list(prompt) if isinstance(prompt, list | tuple) else [prompt]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name}={prompt!r} is not allowed; allowed: a str or a list of str")
    for text in texts:
        if any("\ud800" <= c <= "\udfff" for c in text):
            raise ValueError(f"{name} holds a lone surrogate and so is not valid Unicode")
    return texts
