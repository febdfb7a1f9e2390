"""genfast itself, through its public API."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np

# Noise repeats itself, and would be guessed: peers do not speculate here either.
_GREEDY = {"temperature": 0, "ignore_eos": True, "speculate": False}
_OPTIONS = {
    "f32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "int8": {"quantize": "int8"},
    "int4": {"quantize": "int4"},
    "fp8": {"quantize": "fp8"},
}


class Engine:
    FORMATS: ClassVar = {
        "f32": "f32",
        "bf16": "bf16",
        "int8": "int8, rotated rows",
        "int4": "int4, G 32",
        "fp8": "fp8, a scale a row",
    }

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import genfast

        self._model = genfast.load(
            model,
            threads=threads,
            kv_cache_bytes=1 << 28,
            prefix_cache=False,  # prompts come again, and are to be computed
            progress=False,
            **_OPTIONS[fmt],
        )
        self.weight_bytes = self._model.weight_bytes

    def logits(self, ids: list[int]) -> np.ndarray:
        return self.all_logits(ids)[-1]

    def all_logits(self, ids: list[int]) -> np.ndarray:
        return self._model.logits(ids)

    def prefill(self, ids: list[int]) -> float:
        begin = time.perf_counter()
        self._model.generate(ids, max_tokens=1, **_GREEDY)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], n: int) -> float:
        # By the engine's clock, first token to last: a reader may miss when the first one came.
        out = self._model.generate(ids, max_tokens=n + 1, **_GREEDY)
        if len(out.token_ids) != n + 1:
            raise RuntimeError(f"asked for {n + 1} tokens, got {len(out.token_ids)}")
        return out.timings.decode_s

    def beams(self, ids: list[int], beams: int, n: int) -> float:
        options = {"num_beams": beams} if beams > 1 else {"speculate": False}
        out = self._model.generate(ids, max_tokens=n + 1, temperature=0, ignore_eos=True, **options)
        if len(out.token_ids) != n + 1:
            raise RuntimeError(f"asked for {n + 1} tokens, got {len(out.token_ids)}")
        return out.timings.decode_s

    def close(self) -> None:
        self._model.close()
