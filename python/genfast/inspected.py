"""What a model thinks of given tokens, and how it comes to that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genfast import _core
from genfast.errors import ComputeError
from genfast.prompts import Prompt, PromptReader
from genfast.results import Score


class Inspected:
    """The part of a `Model` that shows what is computed."""

    vocab_size: int
    context_length: int
    _prompts: PromptReader
    _engine: _core.Engine
    _native_program: _core.Program
    _layouts: list[_core.KvLayout]
    _threads: int
    _asked_isa: str
    _on_device: dict[str, int]

    def logits(
        self, token_ids: Prompt, *, start: int = 0, chunk: int = 0, reuse: bool = True
    ) -> np.ndarray:
        """Logits at the positions from `start` on: float32 [T - start, V].

        chunk: prefill at most so many tokens a step (0: as many as fit). reuse: keys and values
        before `start` may come from the prefix cache. The bits depend on neither.
        """
        ids = self._prompts.one(token_ids)
        request = self._engine.submit(
            ids, 0, prompt_outputs="logits", outputs_from=start, chunk=chunk, reuse=reuse
        )
        self._finish(request)
        return request.take_logits(self.vocab_size)

    def score(self, text_or_ids: Prompt, *, top: int = 0) -> Score:
        """Natural-log probability of each token given those before it, and the perplexity.

        top: so many of the likeliest tokens are told at each place too, 0 to the vocabulary.
        """
        if isinstance(top, bool) or not isinstance(top, int) or not 0 <= top <= self.vocab_size:
            raise ValueError(f"top={top!r} is not allowed; allowed: an int 0 to {self.vocab_size}")
        ids = self._prompts.one(text_or_ids)
        sampling = _core.SamplingParams(logprobs=top)
        request = self._engine.submit(ids, 0, sampling, prompt_outputs="logprobs")
        self._finish(request)
        told = request.prompt_logprobs
        return Score(
            token_ids=ids,
            logprobs=[None, *(logprob for logprob, *_ in told)],
            top=[[], *(likeliest for _, likeliest, *_ in told)],
        )

    def embed(self, texts: Sequence[Prompt]) -> np.ndarray:
        """Mean over tokens of the final hidden states (after the last norm): float32 [n, E]."""
        prompts, batched = self._prompts.several(texts)
        if not batched:
            raise ValueError("texts must be a list of prompts; for one text: embed([text])")
        rows = [self.tap(ids, ["final_norm"])["final_norm"].mean(axis=0) for ids in prompts]
        return np.stack(rows).astype(np.float32)

    def tap(self, token_ids: Prompt, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Intermediates of one pass over the prompt: {name: float32 [T, columns]}.

        The names are those `dump()` prints: "layers.0.qkv", "layers.3.attention", "logits" ...
        """
        ids = self._prompts.one(token_ids)
        if len(ids) > self.context_length:
            raise ValueError(f"{len(ids)} tokens exceed the context of {self.context_length}")
        for name in names:
            if name not in self._native_program.names:
                raise ValueError(f"names: the program has no value {name!r}; see model.dump()")
        return _core.tap(
            self._native_program,
            self._layouts,
            ids,
            list(names),
            threads=self._threads,
            isa=self._asked_isa,
            **self._on_device,
        )

    def dump(self) -> str:
        """The recorded program as text: every instruction with shapes, kernel, buffer and the line
        of the model file that recorded it."""
        return self._engine.dump()

    def _finish(self, request: _core.Request) -> None:
        """Waits for a request without a continuation."""
        try:
            while not request.wait(1, 0.05):
                pass
        except BaseException:
            self._engine.cancel(request)
            raise
        state = request.snapshot()
        if state["error"]:
            raise ComputeError(state["error"])
        if state["finish_reason"] == "cancelled":
            raise RuntimeError("the model was closed while it computed")
