"""Streaming text: a token in, the text that is now certain out.

`Detokenizer` never splits a character: bytes of an unfinished one wait for the rest.
`StopStrings` holds back what may turn out to be the beginning of a stop string.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genfast.tokenizer import Tokenizer

_WINDOW = 6  # tokens of context that a non-bytewise decoder may look back on
_MAX_HELD = 8  # tokens that may wait for the end of a character before being let go
_REPLACEMENT = "\ufffd"


class Detokenizer:
    """Text of a generation, token by token.

    All that `push` returned plus `finish()` is the text that the generated ids add to the
    prompt's: `tokenizer.decode(prompt_ids + ids)` less `tokenizer.decode(prompt_ids)`. A
    character that the prompt began and the generation finishes comes out whole. The cost of a
    token does not depend on how many came before. `within`: nothing is dropped, as a text's first
    space otherwise is: a grammar counts every byte.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt_ids: Sequence[int] = (),
        skip_special_tokens: bool = True,
        within: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._skip = tokenizer.special_ids if skip_special_tokens else frozenset()
        self._rule = tokenizer.rule
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._first = not within  # no token yet
        self._strip = self._first and self._rule is not None and self._rule.lead == "space"
        if self._rule is not None:
            self._start_bytes(prompt_ids)
        else:
            kept = [i for i in prompt_ids[-4 * _WINDOW :] if i not in self._skip]
            self._ids = kept[-_WINDOW:]
            self._read = len(self._ids)  # tokens whose text is out
            self._text = self._decode(self._ids)

    def _start_bytes(self, prompt_ids: Sequence[int]) -> None:
        """Takes up from the prompt what the next token can depend on: its last few bytes."""
        tail = b""
        for token_id in reversed(prompt_ids):
            token = None if token_id in self._skip else self._tokenizer.id_to_token(token_id)
            if token is None:
                continue
            self._first = False
            tail = self._rule.to_bytes(token) + tail
            if len(tail) >= 4:  # no character is longer
                break
        if tail:
            self._strip = False
            self._utf8.decode(tail)

    def push(self, token_id: int) -> str:
        """The text that `token_id` makes certain, possibly none."""
        if token_id in self._skip:
            return ""
        if self._rule is None:
            return self._push_window(token_id)
        token = self._tokenizer.id_to_token(token_id)
        if token is None:
            return ""
        data = self._rule.to_bytes(token, first=self._first)
        self._first = False
        if self._strip and data:
            self._strip = False
            data = data.removeprefix(b" ")
        return self._utf8.decode(data)

    def finish(self) -> str:
        """What was held back; an unfinished character is now U+FFFD."""
        if self._rule is not None:
            return self._utf8.decode(b"", True)
        text = self._decode(self._ids)[len(self._text) :]
        self._text += text
        return text

    # The general way: decode a short window with and without the new token, and compare.

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def _push_window(self, token_id: int) -> str:
        self._ids.append(token_id)
        text = self._decode(self._ids)
        if text.endswith(_REPLACEMENT) and len(self._ids) - self._read < _MAX_HELD:
            return ""
        new = text[len(self._text) :]
        self._ids = self._ids[-_WINDOW:]
        self._read = len(self._ids)
        self._text = self._decode(self._ids)
        return new


class StopStrings:
    """Watches a stream of text for stop strings, which may lie across its pieces.

    `push` gives the text that cannot be part of a stop string any more, and whether one was
    found; the stop string itself and what follows it are never given. Of several, the one that
    ends first wins, and of those that end together the longest. `held` is what waits.
    """

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self.stops = tuple(stops)
        if not all(self.stops):
            raise ValueError("stop holds an empty string; allowed: non-empty strings")
        self.held = ""
        self.matched: str | None = None
        self._longest = max(map(len, self.stops), default=0)

    def push(self, text: str) -> tuple[str, bool]:
        """(text that is safe to show, whether a stop string has been found)."""
        if self.matched is not None:
            return "", True
        if not self.stops:
            return text, False
        data = self.held + text
        found = [(at + len(stop), at, stop) for stop in self.stops if (at := data.find(stop)) >= 0]
        if found:
            _, start, self.matched = min(found)
            self.held = ""
            return data[:start], True
        keep = self._possible_start(data)
        self.held = data[len(data) - keep :]
        return data[: len(data) - keep], False

    def finish(self) -> str:
        """What was held back, no stop string having come of it."""
        text, self.held = self.held, ""
        return text

    def _possible_start(self, data: str) -> int:
        """Length of the longest end of `data` that begins a stop string."""
        for size in range(min(len(data), self._longest - 1), 0, -1):
            tail = data[-size:]
            if any(stop.startswith(tail) for stop in self.stops):
                return size
        return 0
