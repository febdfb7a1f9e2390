"""A tokenizer as llguidance wants to see it: every token's bytes, and which tokens are no text."""

from __future__ import annotations

from genfast.tokenizer import Tokenizer

# Tokenizers put a space before a text, or strip one. None does so behind this character, which
# joins no other in a token.
_ANCHOR = "\x02"


class Vocabulary:
    """The tokens of a model, and one behind them that stands for the end of a grammar.

    A special token is never text, whatever its name: a grammar can only ask for it as a token.
    """

    is_tokenizer_wrapper = True  # by this llguidance knows that the names below are there
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer | None, vocab_size: int, keyword: str) -> None:
        if tokenizer is None or tokenizer.rule is None:
            found = "this directory has none" if tokenizer is None else f"found {tokenizer!r}"
            raise ValueError(f"{keyword} needs a tokenizer whose tokens are runs of bytes; {found}")
        self._tokenizer = tokenizer
        special = {*tokenizer.special_ids, *tokenizer.eos_ids}
        special |= set() if tokenizer.bos_id is None else {tokenizer.bos_id}
        self._special = frozenset(special)
        self.eos_token_id = vocab_size
        self.special_token_ids = [*sorted(i for i in special if i < vocab_size), vocab_size]
        texts = [tokenizer.id_to_token(i) or "" for i in range(vocab_size)]
        self.tokens = [
            text.encode("utf-8", "replace") if i in special else tokenizer.rule.to_bytes(text)
            for i, text in enumerate(texts)
        ]
        self.tokens.append(b"<end of the grammar>")
        self._ids: dict[bytes, int] = {}
        for token_id, data in enumerate(self.tokens[:-1]):
            if data and token_id not in special:
                self._ids.setdefault(data, token_id)
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: str) -> list[int]:
        """The ids whose bytes are the text's, as the tokenizer would cut it within a text."""
        data = text.encode()
        ids = self._tokenizer.encode(text, add_special_tokens=False)
        if self._bytes(ids) == data:
            return ids
        ids = self._tokenizer.encode(_ANCHOR + text, add_special_tokens=False)
        anchor = self._ids.get(_ANCHOR.encode())
        ids = ids[ids.index(anchor) + 1 :] if anchor in ids else []
        return ids if self._bytes(ids) == data else self._greedily(data)

    def _bytes(self, ids: list[int]) -> bytes | None:
        """None where one of them is no text: a text may hold the name of a special token."""
        if not self._special.isdisjoint(ids):
            return None
        return b"".join(self.tokens[i] for i in ids if i < self.eos_token_id)

    def _greedily(self, data: bytes) -> list[int]:
        """The longest token, again and again; nothing where the vocabulary lacks a byte."""
        ids = []
        at = 0
        while at < len(data):
            for length in range(min(self._longest, len(data) - at), 0, -1):
                token_id = self._ids.get(data[at : at + length])
                if token_id is not None:
                    ids.append(token_id)
                    at += length
                    break
            else:
                return []
        return ids
