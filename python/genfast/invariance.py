"""The numerics contract, tried on a model: the same bits whatever runs beside a request and
wherever its keys and values come from."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from genfast.model import Model

THREADS = (1, 2, 3)
COMPANY = ("alone", "in a batch")
CHUNKS = (1, 16, 512)
SOURCES = ("cold", "prefix hit", "from a file")
_PROMPT, _COMPARED = 150, 20  # tokens; positions whose logits are compared


@dataclass(frozen=True)
class InvarianceCheck:
    """One way to compute the logits of a prompt, and whether they are the first way's bits."""

    threads: int
    company: str
    chunk: int
    source: str
    same: bool


def check_invariance(
    path: Any = None,
    *,
    seed: int = 0,
    threads: Sequence[int] = THREADS,
    chunks: Sequence[int] = CHUNKS,
    **load: Any,
) -> Iterator[InvarianceCheck]:
    """Computes logits of one random prompt in every combination of threads, company in the batch,
    chunks of the prompt and where its beginning comes from; yields each as it is done.

    load: options of `genfast.load`. The first combination is what the others are compared with.
    """
    import genfast

    with tempfile.TemporaryDirectory(prefix="genfast-check-") as directory:
        file, expected = Path(directory) / "kv.safetensors", None
        for count in threads:
            with ExitStack() as stack:
                model = stack.enter_context(genfast.load(path, threads=count, **load))
                prompt = _prompt(model, seed)
                if not file.exists():
                    model.save_kv(prompt[:-_COMPARED], file)
                other = stack.enter_context(genfast.load(path, threads=count, **load))
                other.load_kv(file)
                for source, company, chunk in itertools.product(SOURCES, COMPANY, chunks):
                    asked = other if source == "from a file" else model
                    with _others(asked, seed, company):
                        bits = _logits(asked, prompt, chunk, source)
                    expected = bits if expected is None else expected
                    yield InvarianceCheck(count, company, chunk, source, bits == expected)


def _prompt(model: Model, seed: int) -> list[int]:
    length = min(_PROMPT, model.context_length)
    if length < 32 + _COMPARED:
        raise ValueError(
            f"a context of {model.context_length} tokens is too short: prefixes are kept in pages "
            "of 32 tokens"
        )
    return np.random.default_rng(seed).integers(0, model.vocab_size, length).tolist()


def _logits(model: Model, prompt: list[int], chunk: int, source: str) -> bytes:
    before = model.stats()["cached_tokens"]
    start = len(prompt) - _COMPARED
    logits = model.logits(prompt, start=start, chunk=chunk, reuse=source != "cold")
    reused = model.stats()["cached_tokens"] - before
    if (reused > 0) != (source != "cold"):
        raise RuntimeError(f"{source}: {reused:.0f} tokens came from the cache")
    return logits.tobytes()


@contextmanager
def _others(model: Model, seed: int, company: str) -> Iterator[None]:
    """Other requests that decode, with tokens guessed in advance, and prefill meanwhile."""
    if company == "alone":
        yield
        return
    rng = np.random.default_rng(seed + 1)
    streams = [
        model.stream(
            rng.integers(0, model.vocab_size, length).tolist(),
            max_tokens=max(1, model.context_length - length),
            temperature=1.0,
            seed=index,
            ignore_eos=True,
            speculate=True,
        )
        for index, length in enumerate((1, 7, 33, 60))
    ]
    try:
        next(streams[0])  # under way
        yield
    finally:
        for stream in streams:
            stream.close()
