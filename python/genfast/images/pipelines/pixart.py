"""PixArt-alpha and -sigma: T5's tokens tell the text. Upstream: diffusers' pipelines/pixart_alpha.

Texts are made lower case, as upstream does unless it can parse HTML out of them. Sizes are taken as
they are: upstream draws the nearest of those trained and crops it.
"""

from __future__ import annotations

from genfast.images.directory import Index
from genfast.images.models.pixart_transformer import PixArtTransformer2DModel
from genfast.images.pipelines.diffusion import Predict
from genfast.images.pipelines.text import Condition, TextDiffusion, open_t5


class PixArt(TextDiffusion):
    parts = ("transformer", "vae", "encoder")
    steps = 20
    guidance = 4.5
    length = 120  # tokens of a text

    def __init__(self, index: Index) -> None:
        super().__init__(index)
        kinds = {"PixArtTransformer2DModel": PixArtTransformer2DModel}
        kinds["Transformer2DModel"] = PixArtTransformer2DModel  # as it was called at first
        self.transformer = index.network("transformer", kinds)
        self.tokens, self.encoder = open_t5(index, "text_encoder", self.length)
        self._check_channels(self.transformer, variances=True)
        width, config = self.encoder.config.hidden_size, self.transformer.config
        if (config.caption or config.context) != width:
            field = "cross_attention_dim" if config.caption is None else "caption_channels"
            self.transformer.fields.fail(field, f"{width}, the d_model of text_encoder")

    def encode(self, texts: list[str]) -> Condition:
        ids, seen = self.tokens([text.lower().strip() for text in texts])
        return Condition(self.encoder(ids, seen), seen=seen)

    def _size(self) -> tuple[int, ...]:
        side = self.transformer.config.side * self.downscale
        return side, side, self.downscale * self.transformer.config.patch

    def _predictor(self, told: Condition, scale: float, height: int, width: int) -> Predict:
        size = (height, width) if self.transformer.config.sizes else None
        return lambda x, t: self.transformer(x, t, told.states, told.seen, size)[:, : self.channels]


class PixArtSigma(PixArt):
    length = 300
