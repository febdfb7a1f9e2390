"""What guidance promises: each token is that of both prompts' logits, each computed alone."""

from __future__ import annotations

import numpy as np


def check(model, ids: list[int], negative: list[int], scale: float, tokens: int) -> None:
    options = {"max_tokens": tokens, "ignore_eos": True, "temperature": 0}
    options |= {"guidance_scale": scale, "negative_prompt": negative}
    expected = []
    for _ in range(tokens):
        likely, unlikely = (
            model.logits(prompt + expected, start=len(prompt + expected) - 1)[0]
            for prompt in (ids, negative)
        )
        expected.append(int((unlikely + np.float32(scale) * (likely - unlikely)).argmax()))
    assert model.generate(ids, **options).token_ids == expected
