"""Guided output: a grammar says, token by token, what may follow.

The engine computes without Python. So each model has one thread here that meets it at mailboxes
(`csrc/engine/token_masks.h`): while the engine computes the logits that follow a token, the thread
advances the grammar by that token and writes which tokens are allowed.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from genfast import _core
from genfast.errors import GrammarError
from genfast.grammar import Grammar, grammar_error, need_llguidance
from genfast.guided_vocabulary import Vocabulary
from genfast.tokenizer import Tokenizer

_COMPILED = 64  # grammars kept ready for the next request


class Grammars:
    """The grammars of one model; the thread starts with the first guided request."""

    def __init__(self, tokenizer: Tokenizer | None, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._vocab_size = vocab_size
        self._vocabulary: Any = None  # llguidance's view of the tokenizer
        self._compiled: OrderedDict[Grammar, Any] = OrderedDict()
        self._guides: weakref.WeakValueDictionary[int, Guide] = weakref.WeakValueDictionary()
        self._keys = itertools.count()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.queue = _core.MaskQueue()
        weakref.finalize(self, self.queue.close)

    def guide(self, grammar: Grammar, stop_ids: Sequence[int]) -> Guide:
        """For one request. GrammarError where the grammar cannot be compiled."""
        with self._lock:
            matcher = self._matcher(grammar).deep_copy()
            key = next(self._keys)
            masks = _core.TokenMasks(self.queue, key, self._vocab_size + 1)
            guide = Guide(masks, matcher, grammar, self._vocab_size, stop_ids)
            self._guides[key] = guide
            if self._thread is None:
                self._thread = threading.Thread(
                    target=_serve,
                    args=(self.queue, self._guides),
                    name="genfast-guide",
                    daemon=True,
                )
                self._thread.start()
        guide.answer()
        return guide

    def close(self) -> None:
        self.queue.close()
        if self._thread is not None:
            self._thread.join(1)

    def _matcher(self, grammar: Grammar) -> Any:
        matcher = self._compiled.get(grammar)
        if matcher is None:
            guidance = need_llguidance()
            if self._vocabulary is None:
                vocabulary = Vocabulary(self._tokenizer, self._vocab_size, grammar.keyword)
                self._vocabulary = guidance.LLTokenizer(
                    vocabulary, n_vocab=len(vocabulary.tokens), eos_token=vocabulary.eos_token_id
                )
            matcher = guidance.LLMatcher(self._vocabulary, grammar.text, log_level=0)
            if matcher.is_error():
                raise grammar_error(grammar, matcher.get_error())
            self._compiled[grammar] = matcher
            if len(self._compiled) > _COMPILED:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(grammar)
        return matcher


class Guide:
    """Where a request stands in its grammar: its sequence, or each of its beams.

    The grammar's end is a token of its own, behind the vocabulary. Where the grammar may end, the
    request's stop tokens are allowed; where it must, no token is drawn at all.
    """

    def __init__(
        self,
        masks: _core.TokenMasks,
        matcher: Any,
        grammar: Grammar,
        vocab_size: int,
        stop_ids: Sequence[int],
    ) -> None:
        self.masks = masks
        self.error: GrammarError | None = None
        self._matchers = [matcher]
        self._grammar = grammar
        self._words: list[np.ndarray] = []
        self._end = np.divmod(vocab_size, 32)
        self._stops = {token: np.divmod(token, 32) for token in stop_ids}

    def advance(self) -> None:
        """Takes in the tokens that were posted, if any are, and says what may follow them."""
        accepted, draft, beams = self.masks.take()
        if accepted or draft or beams:
            self.answer(accepted, draft, beams)

    def answer(
        self,
        accepted: Sequence[int] = (),
        draft: Sequence[int] = (),
        beams: Sequence[tuple[int, int]] = (),
    ) -> None:
        try:
            if beams:
                self._matchers = list(self._branch(beams))
            self._matchers[0].consume_tokens(list(accepted))
            rows = [self._fill(matcher, row) for row, matcher in enumerate(self._matchers)]
            if None in rows:
                self.masks.fail(str(self.error))
                return
            if rows == ["open"]:
                rows += self._look_ahead(draft)
            self.masks.answer(rows, [] if beams else self._matchers[0].compute_ff_tokens())
        except Exception as error:
            self.masks.fail(f"{type(error).__name__}: {error}")

    def _branch(self, beams: Sequence[tuple[int, int]]) -> Iterator[Any]:
        """The matchers of the beams of the next step: (beam of this step, its next token) each."""
        uses = Counter(beam for beam, _ in beams)
        for beam, token in beams:
            uses[beam] -= 1
            matcher = self._matchers[beam].deep_copy() if uses[beam] else self._matchers[beam]
            matcher.consume_token(token)
            yield matcher

    def _look_ahead(self, draft: Sequence[int]) -> Iterator[str]:
        """The verdicts after each token of a draft, as far as they may follow."""
        ahead = self._matchers[0].deep_copy() if draft else None
        for row, token in enumerate(draft, 1):
            word, bit = divmod(token, 32)
            if token in self._stops or not self._words[row - 1][word] >> bit & 1:
                return
            ahead.consume_token(token)
            verdict = self._fill(ahead, row)
            if verdict is None:  # that is told when the token was drawn
                self.error = None
                return
            yield verdict
            if verdict != "open":
                return

    def _fill(self, matcher: Any, row: int) -> str | None:
        """Writes a mask; the verdict, or None with `error` set."""
        while len(self._words) <= row:
            self._words.append(self.masks.words(len(self._words)))
        words = self._words[row]
        matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        if matcher.is_error():
            message = matcher.get_error()
            if message.startswith("NoExtension"):
                return "dead_end"
            self.error = grammar_error(self._grammar, message)
            return None
        word, bit = self._end
        may_end = bool(words[word] >> bit & 1)
        words[word] &= ~np.uint32(1 << bit)
        if not words.any():
            return "complete" if may_end else "dead_end"
        if may_end:
            for word, bit in self._stops.values():
                words[word] |= np.uint32(1 << bit)
        return "open"


def _serve(queue: _core.MaskQueue, guides: weakref.WeakValueDictionary[int, Guide]) -> None:
    """The thread: answers what is posted until the model is closed."""
    while (masks := queue.take()) is not None:
        guide = guides.get(masks.key)
        if guide is None:
            masks.fail("nobody reads this request any more")
        else:
            guide.advance()
        del guide  # the next one may be long in coming
