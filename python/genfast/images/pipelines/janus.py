"""Images of a text, code by code: Janus and Janus-Pro, as transformers' `generate` makes them.

Chen et al., 2025 (arXiv 2501.17811). Two prompts are continued alike, and a code is drawn from the
logits of the one guided away from those of the other: the same prompt without its words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genfast.chat import render
from genfast.config import Fields
from genfast.images.directory import LoadOptions
from genfast.images.models.vqgan import VQGAN
from genfast.images.options import Options, refuse
from genfast.images.pipelines.base import Watch
from genfast.images.pipelines.codes import CodePipeline, open_model

_BEGIN, _PAD = "<begin_of_image>", "<｜▁pad▁｜>"
_GUIDANCE = 5.0  # where generation_config.json says nothing


def open_janus(directory: Path, options: LoadOptions) -> Janus:
    vq = VQGAN(directory, "model.vqmodel.", **options.keywords())
    return Janus(directory, open_model(directory, options), vq)


class Janus(CodePipeline):
    """model: also continues texts, as any other; its ids from `first` on are codes."""

    def __init__(self, directory: Path, model: Any, vq: VQGAN) -> None:
        side = vq.config.side
        first = model.vocab_size - vq.config.codes
        super().__init__(directory, model.config, model, vq, (side, side), first)
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        """The ids that a prompt of images needs, and the usual guidance."""
        file = self.path / "generation_config.json"
        generation = Fields(self.model.generation_config, file)
        more = generation.object("generation_kwargs", default=None)
        told = [self.config["text_config"], generation.values, more.values if more else {}]
        fields = Fields({k: v for each in told for k, v in each.items() if v is not None}, file)
        tokenizer = self.model.tokenizer
        named = tokenizer.token_to_id if tokenizer else lambda token: None

        def id_of(name: str, token: str) -> int:
            found = fields.int(name, 0, self.first - 1, default=None)
            found = named(token) if found is None else found
            return fields.fail(name, f"the id of {token}") if found is None else found

        self._begin, self._pad = id_of("boi_token_id", _BEGIN), id_of("pad_token_id", _PAD)
        self._kept = {self._begin, fields.int("bos_token_id", 0, self.first - 1, default=None)}
        self.guidance: float = fields.number("guidance_scale", 0, 1000, default=_GUIDANCE)

    def ids_of(self, prompt: str) -> list[int]:
        """The ids that a text's image is drawn after: by the chat template, where there is one."""
        tokenizer = self.model.tokenizer
        if tokenizer is None:
            raise ValueError(f"a text needs a tokenizer, and {self.path} has none: pass token ids")
        if tokenizer.chat_template is not None:
            message = {"role": "user", "content": [{"type": "text", "text": prompt}]}
            prompt = render(tokenizer.chat_template, [message], **tokenizer.special_tokens)
        return [*tokenizer.encode(prompt), self._begin]

    def _generate(self, prompt: Any, options: Options, seed: int, watch: Watch) -> np.ndarray:
        options.only(
            *("guidance_scale", "negative_prompt", "temperature", "top_k", "top_p"),
            why="this model makes an image code by code, of one size",
        )
        prompts = self._prompts(prompt)
        scale = self.guidance if options.guidance_scale is None else options.guidance_scale
        negatives = self._negatives(options.negative_prompt, prompts)
        requests = []
        for number in range(len(prompts) * options.n):
            own = {"suppress_tokens": range(self.first), **options.sampling()}
            own["seed"] = (seed + number) % 2**64
            if scale > 1:
                negative = negatives[number // options.n]
                own |= {"guidance_scale": scale, "negative_prompt": negative}
            requests.append((prompts[number // options.n], own))
        return self._draw(requests, watch)

    def _prompts(self, prompt: Any) -> list[list[int]]:
        ids = isinstance(prompt, list | tuple) and all(isinstance(i, int) for i in prompt)
        items = prompt if isinstance(prompt, list | tuple) and not ids else [prompt]
        if not all(isinstance(item, str | list | tuple) for item in items):
            refuse("prompt", prompt, "a text, token ids, or a list of either")
        return [self.ids_of(item) if isinstance(item, str) else list(item) for item in items]

    def _negatives(self, given: Any, prompts: list[list[int]]) -> list[list[int]]:
        """Of each prompt what its image is guided away from."""
        if given is None:
            return [[i if i in self._kept else self._pad for i in ids] for ids in prompts]
        texts = given if isinstance(given, list) else [given]
        if len(texts) not in (1, len(prompts)) or not all(isinstance(t, str) for t in texts):
            refuse("negative_prompt", given, "a text, or one for each prompt")
        negatives = [self.ids_of(text) for text in texts]
        return negatives if len(texts) == len(prompts) else negatives * len(prompts)
