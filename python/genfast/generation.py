"""One running continuation: native tokens in, text, stop strings and results out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from genfast import _core, beams
from genfast.detokenizer import Detokenizer, StopStrings
from genfast.errors import ComputeError
from genfast.native_sampling import native_sampling
from genfast.results import Chunk, Generation, Timings, TokenLogprobs, Usage
from genfast.sampling import Sampling
from genfast.tokenizer import Tokenizer
from genfast.tool_calls import ToolCall

if TYPE_CHECKING:
    from genfast.chat_tools import ChatTools
    from genfast.guided import Guide
    from genfast.receipt import Receipt

_SPECULATE = {False: "never", "auto": "when_it_pays", True: "always"}
_POLL_SECONDS = 0.05  # how long a wait may keep Python from seeing Ctrl-C


class Run:
    """A request in the engine, seen from Python; `advance` until `finish_reason` is set."""

    def __init__(
        self,
        engine: _core.Engine,
        tokenizer: Tokenizer | None,
        prompt: Sequence[int],
        sampling: Sampling,
        seed: int,
        stop_ids: Sequence[int],
        index: int,
        make_receipt: Callable[[Run], Receipt],
        draft: _core.DraftModel | None = None,
        guide: Guide | None = None,
        tools: ChatTools | None = None,
        guidance: Mapping[str, Any] | None = None,
        native: _core.Request | None = None,
    ) -> None:
        self.index = index
        self.sampling = sampling
        self.seed = seed
        self.prompt = prompt
        self.finish_reason: str | None = None
        self.token_ids: list[int] = []
        self._told: list[TokenLogprobs] = []  # where logprobs or a calibration ask for it
        self.digests: list[int] = []
        self.text = ""
        self.score: float | None = None  # a beam search's
        self.found = True  # False: a beam search has not so many results
        self._engine = engine
        self._end_ids = frozenset(stop_ids)
        self._stop = StopStrings(sampling.stop)
        self._detokenizer = (
            Detokenizer(tokenizer, prompt, within=guide is not None) if tokenizer else None
        )
        self._make_receipt = make_receipt
        self._guide = guide
        self._tools = tools
        self._beside = tools.text_beside(prompt, sampling.stop) if tools else None
        self.content = ""
        deadline = sampling.deadline_ms
        self._native = native or engine.submit(
            prompt,
            sampling.max_tokens,
            native_sampling(
                sampling,
                seed=seed,
                stream=index,
                stop_ids=stop_ids,
                prompt_tokens=len(prompt),
                tokenizer=tokenizer,
            ),
            priority=sampling.priority,
            deadline_seconds=math.inf if deadline is None else deadline / 1e3,
            speculate=_SPECULATE[sampling.speculate],
            draft_model=draft,
            masks=guide.masks if guide else None,
            beams=beams.native(sampling, tokenizer, stop_ids),
            **(guidance or {}),
        )
        self._state: dict = {}

    def cancel(self) -> None:
        """Stops within one layer's work; harmless once finished."""
        self._engine.cancel(self._native)

    def advance(self, streaming: bool) -> Chunk | None:
        """Waits a moment, then takes in what is new; None when nothing is.

        streaming: any new token is enough; else only the end, unless a stop string is watched.
        """
        some = streaming or bool(self.sampling.stop)
        wanted = len(self.token_ids) + 1 if some else self.sampling.max_tokens + 1
        if not self._native.wait(wanted, _POLL_SECONDS):
            return None
        self._state = self._snapshot()
        if self._state["error"]:
            known = self._guide and self._guide.error
            raise known or ComputeError(self._state["error"])
        start, said = len(self.token_ids), len(self.content)
        text = "".join(self._take(token) for token in self._state["tokens"])
        new = self._state["tokens"][: len(self.token_ids) - start]
        self.digests += self._state["digests"][: len(new)]
        logprobs = [
            TokenLogprobs(token, *told)
            for token, told in zip(new, self._state["logprobs"], strict=False)
        ]
        self._told += logprobs
        if self.finish_reason is None and self._state["finish_reason"]:
            self.finish_reason = self._state["finish_reason"]
            text += self._rest()
        self.text += text
        self._listen(new)
        done = self.finish_reason is not None
        return Chunk(
            text=text,
            token_ids=new,
            finish_reason=self.finish_reason,
            logprobs=self._asked(logprobs),
            index=self.index,
            confidence=self.confidence() if done else None,
            usage=self.usage() if done else None,
            timings=self.timings() if done else None,
            tool_calls=self.tool_calls() if done else [],
            content=self.content[said:],
            make_receipt=self.make_receipt if done else None,
        )

    def _snapshot(self) -> dict[str, Any]:
        return self._native.snapshot(len(self.token_ids))

    def _take(self, token: int) -> str:
        """Appends one token; the text it makes certain. Tokens past a stop string are dropped."""
        if self.finish_reason is not None:
            return ""
        self.token_ids.append(token)
        if self._detokenizer is None or token in self._end_ids:
            return ""
        text = self._detokenizer.push(token)
        if len(self.token_ids) <= self.sampling.min_tokens:
            return text
        text, found = self._stop.push(text)
        if found:
            self.finish_reason = "stop"
            self.cancel()
        return text

    def _rest(self) -> str:
        """What the detokenizer and the stop strings still hold when the tokens end."""
        if self._detokenizer is None:
            return ""
        text, found = self._stop.push(self._detokenizer.finish())
        if found:
            self.finish_reason = "stop"
            return text
        return text + self._stop.finish()

    def _listen(self, new: Sequence[int]) -> None:
        """Takes in what new tokens add to the text beside calls."""
        if self._beside is None:
            self.content = self.text
            return
        self.content += "".join(self._beside.push(i) for i in new if i not in self._end_ids)
        if self.finish_reason is not None:
            self.content += self._beside.finish()

    def usage(self) -> Usage:
        cpu_seconds, bytes_moved, kv_byte_seconds = self._state["cost"]
        _, draft_tokens, accepted_tokens = self._state["drafts"]
        return Usage(
            prompt_tokens=len(self.prompt),
            cached_tokens=self._state["cached_tokens"],
            completion_tokens=len(self.token_ids),
            draft_tokens=draft_tokens,
            accepted_tokens=accepted_tokens,
            cpu_seconds=cpu_seconds,
            bytes_moved=bytes_moved,
            kv_byte_seconds=kv_byte_seconds,
        )

    def timings(self) -> Timings:
        return Timings(
            ttft_s=self._state["ttft_s"],
            prefill_s=self._state["prefill_s"],
            decode_s=self._state["decode_s"],
            prefill_tokens=len(self.prompt) - self._state["cached_tokens"],
            decode_tokens=max(0, len(self.token_ids) - 1),
        )

    def confidence(self) -> float | None:
        """How likely the answer is right; None without a calibration."""
        calibration = self.sampling.calibration
        return calibration.confidence(self._told) if calibration else None

    def _asked(self, told: list[TokenLogprobs]) -> list[TokenLogprobs] | None:
        return told if self.sampling.logprobs is not None else None

    def tool_calls(self) -> list[ToolCall]:
        return self._tools.read(self.prompt, self.token_ids) if self._tools else []

    def make_receipt(self) -> Receipt:
        return self._make_receipt(self)

    def result(self, others: Sequence[Generation] = (), usage: Usage | None = None) -> Generation:
        return Generation(
            text=self.text,
            token_ids=self.token_ids,
            finish_reason=self.finish_reason or "cancelled",
            logprobs=self._asked(self._told),
            calibrated=self.confidence(),
            abstain_below=self.sampling.abstain_below,
            usage=usage or self.usage(),
            timings=self.timings(),
            tool_calls=self.tool_calls(),
            content=self.content,
            score=self.score,
            others=tuple(others),
            make_receipt=self.make_receipt,
        )


class Beam(Run):
    """One of the n best of a beam search: the runs of a prompt share the request in the engine."""

    def _snapshot(self) -> dict[str, Any]:
        state = self._native.snapshot()
        if not state["finish_reason"]:
            return state
        found = self._native.hypotheses()
        self.found = self.index < len(found)
        if self.found:
            best = found[self.index]
            self.score = best["score"]
            state |= {name: best[name] for name in ("tokens", "logprobs", "digests")}
            if best["ended"]:
                state["finish_reason"] = "stop"
        if self.index > 0:
            state["cost"] = (0.0, 0.0, 0.0)  # told by the best
        return state


def start(
    engine: _core.Engine,
    tokenizer: Tokenizer | None,
    prompt: Sequence[int],
    sampling: Sampling,
    seed: int,
    stop_ids: Sequence[int],
    make_receipt: Callable[[Run], Receipt],
    draft: _core.DraftModel | None,
    guide: Callable[[], Guide | None],
    tools: ChatTools | None,
    guidance: Mapping[str, Any],
) -> list[Run]:
    """The n runs of a prompt; each has a guide of its own, but those of a beam search share one."""
    if draft is not None and sampling.num_beams > 1:
        raise ValueError(
            f"draft and num_beams={sampling.num_beams}: only one sequence can speculate"
        )
    settings = (engine, tokenizer, prompt, sampling, seed, stop_ids)
    runs: list[Run] = []
    try:
        for index in range(sampling.n):
            if sampling.num_beams == 1:
                runs.append(Run(*settings, index, make_receipt, draft, guide(), tools, guidance))
            else:
                guided, native = (runs[0]._guide, runs[0]._native) if runs else (guide(), None)
                own = (make_receipt, None, guided, tools)
                runs.append(Beam(*settings, index, *own, native=native))
    except BaseException:
        for run in runs:
            run.cancel()
        raise
    return runs


def finish_all(runs: Sequence[Run]) -> None:
    """Advances every run to its end; whatever interrupts this cancels them all."""
    try:
        for run in runs:
            while run.finish_reason is None:
                run.advance(streaming=False)
    except BaseException:
        for run in runs:
            run.cancel()
        raise


def stream_all(runs: Sequence[Run]) -> Iterator[Chunk]:
    """Chunks of all runs as they come; closing the iterator cancels what still runs."""
    chunks = _chunks(runs)
    next(chunks)  # into its `try`: one that is closed before it was read cancels too
    return chunks


def _chunks(runs: Sequence[Run]) -> Iterator[Chunk]:
    try:
        yield Chunk("")
        pending = list(runs)
        while pending:
            for run in list(pending):
                chunk = run.advance(streaming=True)
                if chunk is not None and (chunk.text or chunk.token_ids or chunk.finish_reason):
                    yield chunk
                if run.finish_reason is not None:
                    pending.remove(run)
    finally:
        for run in runs:
            if run.finish_reason is None:
                run.cancel()


def gather(runs: Sequence[Run]) -> Generation:
    """The finished runs of one prompt as one Generation; its usage counts all of them."""
    usage = Usage.total([run.usage() for run in runs])
    return runs[0].result([run.result() for run in runs[1:] if run.found], usage)
