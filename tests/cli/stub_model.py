"""A model that answers with given tokens: what the command line needs, and nothing to compute."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

from genfast.results import Chunk, Generation, Timings, TokenLogprobs, Usage

TIMINGS = Timings(0.012, 0.01, 0.5, prefill_tokens=4, decode_tokens=5)


class StubModel:
    """Says `pieces`, one a token; remembers what it was asked."""

    path = Path("stub")
    vocab_size = 100
    context_length = 64
    weight_bytes = 4_000_000
    kv_bytes_per_token = 100
    settings = {"quantize": None}  # noqa: RUF012

    def __init__(self, pieces=("Hello", ", ", "world"), chat_template="t", tokenizer=True):
        self.pieces = pieces
        self.asked = []
        self.closed = False
        self.streams_closed = 0
        self.interrupt_at = None  # raise KeyboardInterrupt at this token, once
        self.fail = None
        self.delay = 0.0
        self.config = {"model_type": "stub"}
        self.tokenizer = SimpleNamespace(chat_template=chat_template) if tokenizer else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def stream(self, prompt, **options):
        self.asked.append((prompt, options))
        if self.fail is not None:
            error, self.fail = self.fail, None
            raise error
        return self._chunks()

    def _chunks(self):
        try:
            for index, piece in enumerate(self.pieces):
                if self.interrupt_at == index:
                    self.interrupt_at = None
                    raise KeyboardInterrupt
                time.sleep(self.delay)
                last = index == len(self.pieces) - 1
                yield Chunk(
                    piece,
                    [index],
                    finish_reason="length" if last else None,
                    usage=Usage(4, 0, len(self.pieces)) if last else None,
                    timings=TIMINGS if last else None,
                )
        finally:
            self.streams_closed += 1

    def generate(self, prompt, **options):
        self.asked.append((prompt, options))
        if self.fail is not None:
            raise self.fail
        if options.get("ignore_eos"):
            return Generation("", [1] * options["max_tokens"], "length", timings=TIMINGS)
        logprobs = None
        if options.get("logprobs") is not None:
            logprobs = [TokenLogprobs(i, -0.5, [(i, -0.5)]) for i in range(len(self.pieces))]
        made = [
            Generation(
                "".join(self.pieces) + (str(k) if k else ""),
                list(range(len(self.pieces))),
                "length",
                logprobs,
                Usage(4, 0, len(self.pieces)),
                TIMINGS,
            )
            for k in range(options.get("n", 1))
        ]
        first = made[0]
        return Generation(
            first.text,
            first.token_ids,
            first.finish_reason,
            first.logprobs,
            first.usage,
            first.timings,
            tuple(made[1:]),
        )

    def infill(self, prefix, suffix, **options):
        return self.generate([prefix, suffix], **options)

    def chat(self, messages, *, tools=None, stream=False, **options):
        assert stream
        return self.stream([dict(m) for m in messages], **options)
