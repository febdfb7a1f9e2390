"""Images as tokens: a language model of codes, and the decoder of the VQ-VAE that they come from.

Chen et al., 2020 (ImageGPT); van den Oord et al., 2017 (VQ-VAE, arXiv 1711.00937). The codes are
drawn by the engine of text: its KV cache, its samplers, its batches. The model_index.json is
genfast's own: `transformer` and `vqvae`, `classes` and `first_class_token` (the prompt of class c
is the token first_class_token + c), and maybe `examples`, codes of known images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genfast.images.directory import Index
from genfast.images.models.autoencoder_kl import VQModel
from genfast.images.options import Options, labels_of, refuse
from genfast.images.pipelines.base import ImagePipeline, Watch


def open_tokens(index: Index) -> Tokens:
    from genfast.model import Model  # here, as it imports all of the text engine

    fields = index.fields
    vq = index.network("vqvae", {"VQModel": VQModel})
    classes = fields.int("classes", 1, 1 << 20)
    first = fields.int("first_class_token", 1, 1 << 22)
    if first != vq.config.codes:
        fields.fail("first_class_token", f"{vq.config.codes}, as many as the vqvae has codes")
    index.class_of("transformer", "ImageGPTForCausalImageModeling", "LlamaForCausalLM")
    how = index.options
    model = Model(
        index.folder("transformer"),
        quantize=how.quantize,
        dtype=how.dtype,
        kv_dtype="auto",
        window=None,
        sinks=0,
        device="cpu",
        threads=how.threads,
        kv_cache_bytes=None,
        prefix_cache=False,
        queue_limit=None,
        progress=how.progress,
        cache_dir=None,
    )
    if model.vocab_size < first + classes:
        found = model.vocab_size
        model.close()
        fields.fail("classes", f"at most {found - first}, as the transformer knows {found} tokens")
    return Tokens(index, model, vq, classes, first)


class Tokens(ImagePipeline):
    parts = ("model", "vq")

    def __init__(self, index: Index, model: Any, vq: VQModel, classes: int, first: int) -> None:
        super().__init__(index.directory, index.fields.values)
        self.model, self.vq, self.classes, self.first = model, vq, classes, first
        side = vq.fields.int("sample_size", 1, 1 << 14) // vq.config.scale
        self.grid = (side, side)

    def _generate(self, prompt: Any, options: Options, seed: int, watch: Watch) -> np.ndarray:
        options.only(why="this model makes an image code by code, of one size")
        labels = labels_of(prompt, self.classes, {})
        labels = [label for label in labels for _ in range(options.n)]
        codes = self.grid[0] * self.grid[1]
        watch.begin(1)
        never = dict.fromkeys(range(self.first, self.model.vocab_size), -100.0)
        ids = [
            self.model.stream(
                [self.first + label],
                max_tokens=codes,
                temperature=1.0,
                logit_bias=never,
                ignore_eos=True,
                seed=(seed + image) % 2**64,
            )
            for image, label in enumerate(labels)
        ]  # all of them run at once
        drawn = [[token for chunk in chunks for token in chunk.token_ids] for chunks in ids]
        pixels = self.decode(np.array(drawn))
        watch.step(pixels)
        return pixels

    def decode(self, codes: Any) -> np.ndarray:
        """Pixels [N, C, H, W] in [-1, 1] of codes [N, rows · columns], row by row."""
        codes = np.asarray(codes)
        count = self.grid[0] * self.grid[1]
        if codes.ndim != 2 or codes.shape[1] != count or codes.dtype.kind not in "iu":
            refuse("codes", list(codes.shape), f"ints [N, {count}]")
        if codes.size and not (codes.min() >= 0 and codes.max() < self.first):
            refuse("codes", int(codes.max()), f"ints 0 to {self.first - 1}")
        return self.vq.decode_codes(codes.reshape(-1, *self.grid))

    def close(self) -> None:
        if "model" in self.__dict__:
            self.model.close()
        super().close()
