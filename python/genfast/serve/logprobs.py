"""Log-probabilities of tokens, in the two forms that OpenAI's API has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from genfast.results import TokenLogprobs
from genfast.tokenizer import Tokenizer

_LEAST = -9999.0  # JSON has no infinity, and OpenAI says this


class Words:
    """The tokens of a model as text and bytes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.ends = frozenset(tokenizer.eos_ids)
        self.unseen = frozenset(tokenizer.special_ids)  # texts do not hold them

    def bytes_of(self, token_id: int) -> bytes:
        token = self._tokenizer.id_to_token(token_id)
        rule = self._tokenizer.rule
        if token is None:
            return b""
        if rule is None:
            return self._tokenizer.decode([token_id], skip_special_tokens=False).encode()
        return rule.to_bytes(token)

    def text_of(self, token_id: int) -> str:
        """As text; the bytes of a piece of a character as bytes:\\xe2…, so that none look alike."""
        data = self.bytes_of(token_id)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def chat_logprobs(told: Sequence[TokenLogprobs], words: Words) -> dict[str, Any]:
    """End tokens are no content."""
    entries = [
        {
            **_entry(token.token_id, token.logprob, words),
            "top_logprobs": [_entry(token_id, value, words) for token_id, value in token.top],
        }
        for token in told
        if token.token_id not in words.ends
    ]
    return {"content": entries, "refusal": None}


def _entry(token_id: int, logprob: float, words: Words) -> dict[str, Any]:
    return {
        "token": words.text_of(token_id),
        "logprob": _finite(logprob),
        "bytes": list(words.bytes_of(token_id)),
    }


def completion_logprobs(
    told: Sequence[TokenLogprobs], words: Words, offset: int
) -> tuple[dict[str, Any], int]:
    """From a place in the text on; and the place behind. A probability that is not a number is
    that of a first token, which has none: null, as OpenAI's servers say, though not its document.
    """
    tokens = [words.text_of(token.token_id) for token in told]
    offsets = []
    for token, text in zip(told, tokens, strict=True):
        offsets.append(offset)
        offset += 0 if token.token_id in words.unseen else len(text)
    return {
        "tokens": tokens,
        "token_logprobs": [
            None if math.isnan(token.logprob) else _finite(token.logprob) for token in told
        ],
        "top_logprobs": [
            None
            if math.isnan(token.logprob)
            else {words.text_of(i): _finite(p) for i, p in token.top}
            for token in told
        ],
        "text_offset": offsets,
    }, offset


def _finite(logprob: float) -> float:
    return logprob if math.isfinite(logprob) else _LEAST
