"""Images as codes that a language model draws: its engine, KV cache and samplers are those of text.

Chen et al., 2020 (ImageGPT); van den Oord et al., 2017 (VQ-VAE, arXiv 1711.00937).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genfast.images.directory import LoadOptions
from genfast.images.options import refuse
from genfast.images.pipelines.base import ImagePipeline, Watch


def open_model(directory: Path, how: LoadOptions) -> Any:
    """The language model of a directory."""
    from genfast.model import Model  # here, as it imports all of the text engine

    return Model(
        directory,
        quantize=how.quantize,
        dtype=how.dtype,
        kv_dtype="auto",
        window=None,
        sinks=0,
        device="cpu",
        threads=how.threads,
        kv_cache_bytes=None,
        prefix_cache=True,
        queue_limit=None,
        progress=how.progress,
        cache_dir=None,
    )


class CodePipeline(ImagePipeline):
    """model: draws codes. vq: makes an image of them. grid: rows and columns of an image's codes.
    first: the id of code 0. codes: how many there are."""

    parts = ("model", "vq")

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        model: Any,
        vq: Any,
        grid: tuple[int, int],
        first: int = 0,
    ) -> None:
        super().__init__(path, config)
        self.model, self.vq, self.grid, self.first = model, vq, grid, first
        self.codes: int = vq.config.codes

    def _draw(
        self, requests: Sequence[tuple[list[int], dict[str, Any]]], watch: Watch
    ) -> np.ndarray:
        """Pixels of the codes that follow prompts, drawn as each one's options say; all run at
        once, and a step is a code of every image."""
        count = self.grid[0] * self.grid[1]
        most = self.model.context_length - count + 1  # the last code needs no place
        for ids, options in requests:
            for name, prompt in (("prompt", ids), *options.items()):
                if name in ("prompt", "negative_prompt") and len(prompt) > most:
                    raise ValueError(
                        f"{name} has {len(prompt)} tokens; the model's context of "
                        f"{self.model.context_length} holds {most} before {count} codes"
                    )
        usual = {"max_tokens": count, "ignore_eos": True}
        streams = [self.model.stream(ids, **usual, **options) for ids, options in requests]
        drawn = np.zeros((len(streams), count), np.int64)
        known = [0] * len(streams)
        watch.begin(count)
        try:
            while watch.done < count:
                image = known.index(min(known))
                chunk = next(streams[image], None)
                if chunk is None:
                    raise MemoryError(
                        f"keys and values of an image's {count} codes found no room: free memory"
                    )
                end = known[image] + len(chunk.token_ids)
                drawn[image, known[image] : end] = np.array(chunk.token_ids, np.int64) - self.first
                known[image] = end
                while watch.done < min(known):
                    so_far = np.where(np.arange(count) <= watch.done, drawn, 0)
                    watch.step(so_far.reshape(-1, 1, *self.grid).astype(np.float32))
        finally:
            for stream in streams:
                stream.close()
        return self.decode(drawn)

    def _pixels(self, sample: np.ndarray) -> np.ndarray:
        return self.decode(sample.reshape(len(sample), -1).astype(np.int64))

    def decode(self, codes: Any) -> np.ndarray:
        """Pixels [N, C, H, W] in [-1, 1] of codes [N, rows · columns], row by row."""
        codes = np.asarray(codes)
        count = self.grid[0] * self.grid[1]
        if codes.ndim != 2 or codes.shape[1] != count or codes.dtype.kind not in "iu":
            refuse("codes", list(codes.shape), f"ints [N, {count}]")
        if codes.size and not (codes.min() >= 0 and codes.max() < self.codes):
            refuse("codes", int(codes.max()), f"ints 0 to {self.codes - 1}")
        return self.vq.decode_codes(codes.reshape(-1, *self.grid))

    def close(self) -> None:
        if "model" in self.__dict__:
            self.model.close()
        super().close()
