"""What a reply says beside the tools that it calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from genfast.detokenizer import Detokenizer, StopStrings
from genfast.tokenizer import Tokenizer
from genfast.tool_formats import ARGUMENTS, NAME, TEXT, Format

_TRIGGER = re.compile(r"[<\[][^\s{]{2,}")


def _mark_of(form: Format, special: Iterable[str | None]) -> str | None:
    """What begins calls wherever it stands in a reply: up to a special token, or the like of one.
    None where calls are known only by how the reply begins."""
    opening = form.opening
    ends = [opening.index(token) + len(token) for token in special if token and token in opening]
    trigger = _TRIGGER.match(opening)
    return opening[: min(ends)] if ends else trigger and trigger[0]


def _openings_of(form: Format, names: Iterable[str]) -> list[str]:
    """How a reply of calls begins where no mark tells; no text begins so."""
    before = form.call.partition(NAME)[2].split(ARGUMENTS)[0]
    return [form.opening] if form.opening else [name + before for name in names]


class TextBeside:
    """Of a reply, token by token, the text up to its first call; where texts have a form, the
    answer's alone.

    Special tokens are no text. stops: strings that end the text, as they end the generation.
    """

    def __init__(
        self,
        form: Format,
        names: Iterable[str],
        tokenizer: Tokenizer,
        prompt: Sequence[int],
        stops: Iterable[str],
    ) -> None:
        special = {i: tokenizer.id_to_token(i) or "" for i in tokenizer.special_ids}
        mark = _mark_of(form, special.values())
        self._openings = [] if mark else _openings_of(form, names)
        self._hidden = {i for i, token in special.items() if not mark or token not in mark}
        self._before = form.answer.partition(TEXT)[0]
        self._detokenizer = Detokenizer(tokenizer, prompt, skip_special_tokens=False, within=True)
        self._stops = StopStrings([*stops, mark] if mark else stops)
        self._head = ""  # of a reply that may yet turn out to be calls
        self._done = False

    def push(self, token: int) -> str:
        """The text that this token makes certain."""
        if self._done or (token in self._hidden and not self._before):
            return ""
        return self._take(self._detokenizer.push(token))

    def finish(self) -> str:
        """What was held back when the tokens end."""
        if self._done or self._before:
            return ""
        head, self._head, self._openings = self._head, "", []
        text = self._take(head + self._detokenizer.finish())
        return text if self._done else text + self._stops.finish()

    def _take(self, text: str) -> str:
        if self._before:
            self._head += text
            _, found, text = self._head.partition(self._before)
            if not found:
                return ""
            self._head, self._before, self._openings = "", "", []
        if self._openings:
            self._head += text
            if any(self._head.startswith(opening) for opening in self._openings):
                self._done = True
                return ""
            if any(opening.startswith(self._head) for opening in self._openings):
                return ""
            text, self._head, self._openings = self._head, "", []
        text, self._done = self._stops.push(text)
        return text
