"""A guide that answers once, as one does that thinks for long."""

from __future__ import annotations

from genfast import _core


class Silent:
    def __init__(self, model):
        self.queue = _core.MaskQueue()
        self.masks = _core.TokenMasks(self.queue, 0, model.vocab_size + 1)
        self.masks.words(0)[:] = 0xFFFFFFFF
        self.masks.answer(["open"])

    def submit(self, model, max_tokens=50, **options):
        ids = model.tokenizer.encode("Once upon a time")
        return model._engine.submit(ids, max_tokens, masks=self.masks, **options)
