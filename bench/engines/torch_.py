"""PyTorch with transformers: its own forward pass and cache, without `generate`'s bookkeeping."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np


class Engine:
    FORMATS: ClassVar = {"f32": "float32", "bf16": "bfloat16"}

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import torch
        import transformers

        torch.set_num_threads(threads)
        self._torch = torch
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            model, dtype=getattr(torch, self.FORMATS[fmt]), attn_implementation="sdpa"
        ).eval()

    def _forward(self, ids: list[int], cache=None):
        with self._torch.inference_mode():
            return self._model(
                self._torch.tensor([ids]), past_key_values=cache, use_cache=True, logits_to_keep=1
            )

    def logits(self, ids: list[int]) -> np.ndarray:
        return self._forward(ids).logits[0, -1].float().numpy()

    def prefill(self, ids: list[int]) -> float:
        begin = time.perf_counter()
        self._forward(ids)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], n: int) -> float:
        out = self._forward(ids)
        token = int(out.logits[0, -1].argmax())
        begin = time.perf_counter()
        for _ in range(n):
            out = self._forward([token], out.past_key_values)
            token = int(out.logits[0, -1].argmax())
        return time.perf_counter() - begin

    def beams(self, ids: list[int], beams: int, n: int) -> float:
        prompt = self._torch.tensor([ids])

        def seconds(tokens: int) -> float:
            begin = time.perf_counter()
            out = self._model.generate(
                prompt,
                attention_mask=self._torch.ones_like(prompt),
                num_beams=beams,
                do_sample=False,
                max_new_tokens=tokens,
                min_new_tokens=tokens,
            )
            if out.shape[1] != len(ids) + tokens:
                raise RuntimeError(f"asked for {tokens} tokens, got {out.shape[1] - len(ids)}")
            return time.perf_counter() - begin

        first = seconds(1)
        return seconds(n + 1) - first

    def close(self) -> None:
        del self._model
