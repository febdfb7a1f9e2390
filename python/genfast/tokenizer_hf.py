"""Tokenizers run by the `tokenizers` library: tokenizer.json, and byte-level BPE from two files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from genfast.config import read_object
from genfast.errors import LoadError
from genfast.token_bytes import ByteRule, rule_from_decoder
from genfast.tokenizer import (
    MAX_TOKEN_ID,
    TextConfig,
    Tokenizer,
    backend_errors,
)
from genfast.vocabulary import bpe_findings

# How Qwen2 splits text before byte-level BPE; GPT-2's own split is the library's default.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class FastTokenizer(Tokenizer):
    """A `tokenizers.Tokenizer` behind our protocol."""

    def __init__(
        self, backend: tokenizers.Tokenizer, text: TextConfig, rule: ByteRule | None
    ) -> None:
        self._backend = backend
        self.rule = rule
        self.findings: list[str] = []
        _register_special(backend, text)
        added = backend.get_added_tokens_decoder()
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        self._tokens: dict[int, str | None] = {}
        super().__init__(text, [i for i, token in added.items() if token.special])

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return self._backend.encode(text, add_special_tokens=add_special_tokens).ids

    def _decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        return self._backend.decode(ids, skip_special_tokens=skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        return self._backend.token_to_id(token)

    def id_to_token(self, token_id: int) -> str | None:
        # Asked once a generated token: keep what the library answers.
        try:
            return self._tokens[token_id]
        except KeyError:
            token = self._backend.id_to_token(token_id) if token_id <= MAX_TOKEN_ID else None
            self._tokens[token_id] = token
            return token


def _register_special(backend: tokenizers.Tokenizer, text: TextConfig) -> None:
    """Marks as special what tokenizer_config.json calls so, keeping ids as they are.

    A token that the vocabulary does not have would get a new id that the model has no row for,
    so it is left out.
    """
    known = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    wanted = {
        token.content: tokenizers.AddedToken(
            token.content,
            single_word=token.single_word,
            lstrip=token.lstrip,
            rstrip=token.rstrip,
            normalized=token.normalized,
            special=token.special,
        )
        for token_id, token in text.added.items()
        if backend.token_to_id(token.content) == token_id
    }
    for content in text.named.values():
        if content not in wanted and backend.token_to_id(content) is not None:
            wanted[content] = tokenizers.AddedToken(content, normalized=False, special=True)
    fresh = [token for content, token in wanted.items() if content and content not in known]
    backend.add_special_tokens([token for token in fresh if token.special])
    backend.add_tokens([token for token in fresh if not token.special])


def load_tokenizer_json(path: Path, text: TextConfig) -> FastTokenizer:
    """Opens a tokenizer.json."""
    data = read_object(path)
    _check_layout(path, data)
    with backend_errors(path, "opening the tokenizer"):
        backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8-sig"))
        # The file's own truncation and padding serve training, and would cut a prompt silently.
        backend.no_truncation()
        backend.no_padding()
        tokenizer = FastTokenizer(backend, text, rule_from_decoder(data.get("decoder")))
    _probe(path, tokenizer)
    model, added = data["model"], {t["content"]: t["id"] for t in data.get("added_tokens") or []}
    if model.get("type", "BPE") == "BPE" and isinstance(model["vocab"], dict):
        tokenizer.findings = bpe_findings(
            model["vocab"],
            [] if model.get("ignore_merges") else model.get("merges") or [],
            added,
            byte_level=tokenizer.rule is not None and tokenizer.rule.byte_level,
            byte_fallback=model.get("byte_fallback") is True,
        )
    tokenizer.findings = [f"{path.name}: {finding}" for finding in tokenizer.findings]
    tokenizer.findings += _added_findings(text, tokenizer)
    return tokenizer


def _added_findings(text: TextConfig, tokenizer: FastTokenizer) -> list[str]:
    """Where tokenizer_config.json and added_tokens.json name another token than the vocabulary."""
    found = []
    for token_id, token in text.added.items():
        here = tokenizer.id_to_token(token_id)
        if here is not None and here != token.content:
            found.append(
                f"the token with id {token_id} is {here!r} in the vocabulary and "
                f"{token.content!r} in tokenizer_config.json: added_tokens_decoder"
            )
    return found


def _probe(path: Path, tokenizer: FastTokenizer) -> None:
    """One round trip, so that a file which only fails in use fails while it is being opened."""
    with backend_errors(path, "trying the tokenizer on a short text"):
        for text in ("", "a b"):
            ids = tokenizer.encode(text)
            tokenizer._decode(ids, False)
            if any(i > MAX_TOKEN_ID for i in ids):
                raise LoadError(f"{path}: gives the id {max(ids)}, too large to be a token's")


def _check_layout(path: Path, data: dict[str, Any]) -> None:
    """Names the broken field where the library would only say "no variant matched" or panic."""
    model = data.get("model")
    if not isinstance(model, dict):
        raise LoadError(f"{path}: model is {model!r:.60}, expected an object")
    vocab = model.get("vocab")
    if not isinstance(vocab, dict | list) or not vocab:
        raise LoadError(f"{path}: model.vocab is {vocab!r:.60}, expected tokens and their ids")
    if isinstance(vocab, dict):
        _check_vocab(path, "model.vocab", vocab)
    added = data.get("added_tokens") or []
    if not isinstance(added, list):
        raise LoadError(f"{path}: added_tokens is {added!r:.60}, expected a list")
    for index, token in enumerate(added):
        found = token.get("id") if isinstance(token, dict) else None
        if not _is_id(found) or not isinstance(token.get("content"), str):
            raise LoadError(
                f"{path}: added_tokens[{index}] is {token!r:.80}, expected an object "
                "with an id and a content string"
            )
    for name, step in _templates(data.get("post_processor"), "post_processor"):
        known = step.get("special_tokens")
        known = known if isinstance(known, dict) else {}
        for key in ("single", "pair"):
            pieces = step.get(key)
            for piece in pieces if isinstance(pieces, list) else []:
                special = piece.get("SpecialToken") if isinstance(piece, dict) else None
                if isinstance(special, dict) and special.get("id") not in list(known):
                    raise LoadError(
                        f"{path}: {name}.{key} uses {special.get('id')!r}, which "
                        f"{name}.special_tokens does not define"
                    )
        for token, entry in known.items():
            ids = entry.get("ids") if isinstance(entry, dict) else None
            if not isinstance(ids, list) or not all(_is_id(i) for i in ids):
                raise LoadError(
                    f"{path}: {name}.special_tokens[{token!r}].ids is {ids!r:.60}, "
                    "expected a list of token ids"
                )


def _templates(step: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every TemplateProcessing in a post-processor, with where it stands."""
    if not isinstance(step, dict):
        return
    if step.get("type") == "TemplateProcessing":
        yield name, step
    inner = step.get("processors")
    for index, child in enumerate(inner if isinstance(inner, list) else []):
        yield from _templates(child, f"{name}.processors[{index}]")


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_TOKEN_ID


def _check_vocab(path: Path, name: str, vocab: dict[str, Any]) -> None:
    for token, token_id in vocab.items():
        if not _is_id(token_id):
            raise LoadError(
                f"{path}: {name}[{token!r}] is {token_id!r:.60}, "
                f"expected an int from 0 to {MAX_TOKEN_ID}"
            )


def load_bpe(vocab_path: Path, merges_path: Path, text: TextConfig) -> FastTokenizer:
    """GPT-2's byte-level BPE from a vocabulary (JSON) and its merges (a pair a line)."""
    if text.tokenizer_class.startswith("CLIP"):
        raise LoadError(
            f"{vocab_path}: {text.tokenizer_class} without a tokenizer.json is not supported; "
            "save the tokenizer once with its fast class to get one"
        )
    vocab = read_object(vocab_path)
    if not vocab:
        raise LoadError(f"{vocab_path}: holds no tokens")
    _check_vocab(vocab_path, "vocabulary", vocab)
    if len(set(vocab.values())) != len(vocab):
        raise LoadError(f"{vocab_path}: gives the same id to more than one token")
    merges = _read_merges(merges_path, vocab)
    with backend_errors(vocab_path, "building the tokenizer"):
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
        prefix = bool(text.add_prefix_space)
        if text.tokenizer_class.startswith("Qwen2"):
            backend.normalizer = normalizers.NFC()
            split = pre_tokenizers.Split(tokenizers.Regex(_QWEN2_SPLIT), "isolated")
            rest = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False)
            backend.pre_tokenizer = pre_tokenizers.Sequence([split, rest])
        else:
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
        backend.decoder = decoders.ByteLevel()
        if not text.named and "<|endoftext|>" in vocab:  # GPT-2's only special token
            text.named.update(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
        tokenizer = FastTokenizer(backend, text, ByteRule(byte_level=True))
    _probe(vocab_path, tokenizer)
    added = [*(token.content for token in text.added.values()), *text.named.values()]
    found = bpe_findings(vocab, merges, added, byte_level=True, byte_fallback=False)
    tokenizer.findings = [f"{vocab_path.name}: {finding}" for finding in found]
    tokenizer.findings += _added_findings(text, tokenizer)
    return tokenizer


def _read_merges(path: Path, vocab: dict[str, int]) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise LoadError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    merges = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        pair = line.split(" ")
        if len(pair) != 2 or not all(pair):
            raise LoadError(f"{path}: line {number} is {line!r:.60}, expected two tokens")
        for token in (*pair, "".join(pair)):
            if token not in vocab:
                raise LoadError(f"{path}: line {number} makes {token!r:.60}, not in the vocabulary")
        merges.append((pair[0], pair[1]))
    return merges
