"""Draft models: smaller ones of the same vocabulary, which guess for a larger one's engine."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from genfast import _core
from genfast.sampling import Sampling
from genfast.tokenizer import Tokenizer

if TYPE_CHECKING:
    from genfast.model import Model


def refuse_guesses(model: Model, draft: Any, sampling: Sampling) -> None:
    """ValueError where guesses are asked of a model with recurrent state."""
    asked = f"draft={draft!r}" if draft is not None else f"speculate={sampling.speculate!r}"
    if model.state_bytes and (draft is not None or sampling.speculate is True):
        raise ValueError(
            f"{asked} is not allowed: {model.config['model_type']} has recurrent state, from which "
            "a wrong guess cannot be taken back"
        )


class Drafts:
    """Those that requests of one model named; each joins its engine once."""

    def __init__(self, vocab_size: int, tokenizer: Tokenizer | None) -> None:
        self._vocab_size = vocab_size
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._joined: weakref.WeakKeyDictionary[Model, _core.DraftModel] = (
            weakref.WeakKeyDictionary()
        )
        self._loaded: dict[str, Model] = {}

    def find(self, draft: Any, engine: _core.Engine, sampling: Sampling) -> Any:
        """The native draft model of what `draft=` was given: a Model or a path; None for None."""
        from genfast.model import Model

        if draft is None:
            return None
        if sampling.speculate is False:
            raise ValueError(f"draft={draft!r} contradicts speculate=False: give one of them")
        if sampling.num_beams > 1:
            raise ValueError(
                f"draft={draft!r} and num_beams={sampling.num_beams}: only one sequence can "
                "speculate"
            )
        if sampling.guidance_scale != 1:
            raise ValueError(
                f"draft={draft!r} and guidance_scale={sampling.guidance_scale}: what two prompts "
                "agree on is not guessed"
            )
        with self._lock:
            if isinstance(draft, str | os.PathLike):
                draft = self._load(os.fspath(draft))
            if not isinstance(draft, Model):
                raise ValueError(
                    f"draft={draft!r:.80} is not allowed; allowed: a model that genfast.load gave, "
                    "or the path of one"
                )
            if draft not in self._joined:
                self._check(draft)
                self._joined[draft] = engine.draft_model(
                    draft._native_program, draft._layouts, draft.context_length
                )
            return self._joined[draft]

    def close(self) -> None:
        with self._lock:
            self._joined.clear()
            for model in self._loaded.values():
                model.close()
            self._loaded.clear()

    def _load(self, path: str) -> Model:
        from genfast.api import load

        if path not in self._loaded:
            self._loaded[path] = load(path, progress=False)
        return self._loaded[path]

    def _check(self, draft: Model) -> None:
        """Its ids must be this model's: a guess is an id."""
        if draft.vocab_size != self._vocab_size:
            raise ValueError(
                f"draft: {draft.path} has a vocabulary of {draft.vocab_size} tokens, this model of "
                f"{self._vocab_size}; they must be the same"
            )
        if draft.state_bytes:
            raise ValueError(
                f"draft: {draft.path} ({draft.config['model_type']}) has recurrent state, from "
                "which a wrong guess cannot be taken back"
            )
        if draft.tokenizer is None or self._tokenizer is None:
            return
        for token_id in range(self._vocab_size):
            theirs = draft.tokenizer.id_to_token(token_id)
            ours = self._tokenizer.id_to_token(token_id)
            if theirs != ours:
                raise ValueError(
                    f"draft: token {token_id} is {theirs!r} in {draft.path}, {ours!r} in this "
                    "model; the vocabularies must be the same"
                )
