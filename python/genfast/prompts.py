"""What callers pass as a prompt, checked and turned into token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from genfast.tokenizer import Tokenizer, check_ids

Prompt = str | Sequence[int]


class PromptReader:
    """Reads prompts for one model; whatever is wrong with one is a ValueError that says what."""

    def __init__(
        self, tokenizer: Tokenizer | None, vocab_size: int, context_length: int, path: str
    ) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._context_length = context_length
        self._path = path

    def several(self, prompt: Any) -> tuple[list[list[int]], bool]:
        """(token ids of each prompt, whether it was a batch)."""
        if isinstance(prompt, str):
            return [self.one(prompt)], False
        if isinstance(prompt, Mapping | bytes) or not hasattr(prompt, "__len__"):
            raise ValueError(
                f"prompt is {type(prompt).__name__}; allowed: a str, a list of token ids, "
                "or a list of either"
            )
        if len(prompt) == 0:
            raise ValueError("prompt is empty: it needs at least one token")
        if isinstance(prompt[0], str) or hasattr(prompt[0], "__len__"):
            return [self.one(item) for item in prompt], True
        return [self.one(prompt)], False

    def one(self, prompt: Any, name: str = "prompt") -> list[int]:
        """The token ids of one prompt, each inside the vocabulary, at most a context of them."""
        if isinstance(prompt, str):
            ids = self.need_tokenizer("a text prompt").encode(prompt)
        else:
            ids = check_ids(prompt, name)
        if not ids:
            raise ValueError(f"{name} is empty: it needs at least one token")
        if len(ids) > self._context_length:
            raise ValueError(
                f"{name} has {len(ids)} tokens; the model's context holds {self._context_length}"
            )
        for position, token in enumerate(ids):
            if token >= self._vocab_size:
                raise ValueError(
                    f"{name}[{position}] is token {token}; allowed: 0 to {self._vocab_size - 1}"
                )
        return ids

    def need_tokenizer(self, what: str) -> Tokenizer:
        if self._tokenizer is None:
            raise ValueError(
                f"{what} needs a tokenizer, and {self._path} has none (tokenizer.json, "
                "tokenizer.model, or vocab.json with merges.txt): pass token ids"
            )
        return self._tokenizer
