"""Codes of a class: ImageGPT or Llama, and the decoder of the VQ-VAE that the codes come from.

The model_index.json is genfast's own: `transformer` and `vqvae`, `classes` and `first_class_token`
(the prompt of class c is the token first_class_token + c), and maybe `examples`, codes of known
images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from genfast.images.directory import Index
from genfast.images.models.autoencoder_kl import VQModel
from genfast.images.models.vqgan import VQGAN
from genfast.images.options import Options, labels_of
from genfast.images.pipelines.base import Watch
from genfast.images.pipelines.codes import CodePipeline, open_model


def open_tokens(index: Index) -> Tokens:
    fields = index.fields
    vq = index.network("vqvae", {"VQModel": VQModel, "VQGAN": VQGAN})
    classes = fields.int("classes", 1, 1 << 20)
    first = fields.int("first_class_token", 1, 1 << 22)
    if first != vq.config.codes:
        fields.fail("first_class_token", f"{vq.config.codes}, as many as the vqvae has codes")
    index.class_of("transformer", "ImageGPTForCausalImageModeling", "LlamaForCausalLM")
    model = open_model(index.folder("transformer"), index.options)
    if model.vocab_size < first + classes:
        found = model.vocab_size
        model.close()
        fields.fail("classes", f"at most {found - first}, as the transformer knows {found} tokens")
    if isinstance(vq, VQGAN):
        side = vq.config.side
    else:
        side = vq.fields.int("sample_size", 1, 1 << 14) // vq.config.scale
    return Tokens(index.directory, fields.values, model, vq, (side, side), classes=classes)


class Tokens(CodePipeline):
    def __init__(self, *parts: Any, classes: int) -> None:
        super().__init__(*parts)
        self.classes = classes

    def _generate(self, prompt: Any, options: Options, seed: int, watch: Watch) -> np.ndarray:
        options.only(
            *("temperature", "top_k", "top_p"),
            why="this model makes an image code by code, of one size",
        )
        labels = labels_of(prompt, self.classes, {})
        labels = [label for label in labels for _ in range(options.n)]
        common = {"suppress_tokens": range(self.codes, self.model.vocab_size), **options.sampling()}
        requests = [
            ([self.codes + label], {"seed": (seed + image) % 2**64, **common})
            for image, label in enumerate(labels)
        ]
        return self._draw(requests, watch)
