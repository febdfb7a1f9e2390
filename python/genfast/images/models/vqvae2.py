"""VQ-VAE-2: an image as two grids of codes, the top one for its shapes, the bottom one for details.

Razavi, van den Oord and Vinyals, 2019 (arXiv 1906.00446). Names of tensors are those of the usual
implementation in torch, rosinality's vq-vae-2-pytorch; config.json has the arguments of its VQVAE.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._codebook import Codebook
from genfast.images.models._network import Network
from genfast.images.weights import ImageWeights

_BOTTOM, _TOP = 4, 8  # pixels of a side for one code


@dataclass(frozen=True)
class Config:
    in_channels: int
    channels: int
    blocks: int
    block_channels: int
    code_channels: int
    codes: int

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        channels = cfg.int("channel", 2, 1 << 14, default=128)
        if channels % 2:
            cfg.fail("channel", "an even number: the first convolutions have half as many")
        return cls(
            in_channels=cfg.int("in_channel", 1, 1 << 12, default=3),
            channels=channels,
            blocks=cfg.int("n_res_block", 0, 256, default=2),
            block_channels=cfg.int("n_res_channel", 1, 1 << 14, default=32),
            code_channels=cfg.int("embed_dim", 1, 1 << 12, default=64),
            codes=cfg.int("n_embed", 1, 1 << 20, default=512),
        )


@dataclass(frozen=True)
class _Parts:
    """Records encoders and decoders; numbers in names are places in torch's Sequential."""

    b: Blocks
    cfg: Config

    def encoder(self, name: str, x: Tensor, halvings: int, *, first: bool) -> Tensor:
        """first: of pixels."""
        for i in range(halvings):
            outputs = self.cfg.channels // 2 if i == 0 else self.cfg.channels
            part = f"{name}.blocks.{2 * i}"
            options = {"stride": 2, "padding": 1, "activation": "relu"}
            x = self.b.conv(part, x, outputs, 4, quantised=not (first and i == 0), **options)
        x = self.b.conv(f"{name}.blocks.{2 * halvings}", x, self.cfg.channels)
        return self._residuals(name, x, 2 * halvings + 1)

    def decoder(self, name: str, x: Tensor, outputs: int, doublings: int, *, last: bool) -> Tensor:
        """last: to pixels."""
        cfg = self.cfg
        x = self.b.conv(f"{name}.blocks.0", x, cfg.channels)
        x = self._residuals(name, x, 1)
        for i in range(doublings):
            ends = i == doublings - 1
            x = self.double(
                f"{name}.blocks.{cfg.blocks + 2 + 2 * i}",
                x,
                outputs if ends else cfg.channels // 2,
                activation="none" if ends else "relu",
                quantised=not (last and ends),
            )
        return x

    def double(self, name: str, x: Tensor, outputs: int, *, quantised: bool = True, **options):
        weight = self.b.w.conv_transpose(f"{name}.weight", x.shape[1], outputs, quantised=quantised)
        bias = self.b.w.vector(f"{name}.bias", sizes=[outputs])
        return self.b.g.conv_transpose2d(x, weight, bias, name=name, **options)

    def _residuals(self, name: str, x: Tensor, first: int) -> Tensor:
        for i in range(first, first + self.cfg.blocks):
            part = f"{name}.blocks.{i}.conv"
            h = self.b.g.activation(x, "relu")
            h = self.b.conv(f"{part}.1", h, self.cfg.block_channels, activation="relu")
            x = self.b.conv(f"{part}.3", h, self.cfg.channels, 1, residual=x)
        return self.b.g.activation(x, "relu")


class VQVAE2(Network):
    """Images [N, C, H, W] of about -1 to 1, their sides multiples of 8; codes of the top [N, H / 8,
    W / 8] and of the bottom [N, H / 4, W / 4]."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "VQVAE2", **options)
        self.config = cfg = Config.from_json(self.fields)
        shape = (cfg.code_channels, cfg.codes)
        self.top, self.bottom = (
            Codebook(self._weights.array(f"quantize_{level}.embed", *shape).T) for level in "tb"
        )

    def encode(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the top, and those of the bottom, which know the top's."""
        image = np.asarray(image, np.float32)
        if image.ndim != 4 or image.shape[2] % _TOP or image.shape[3] % _TOP:
            raise ValueError(
                f"expected images [N, C, H, W], sides multiples of {_TOP}, found shape "
                f"{list(image.shape)}"
            )
        features = self._runner(("features", image.shape), self._features(*image.shape))
        found = features.run(image=image)
        top = self.top.nearest(found["latents"])
        inputs = {"latents": self.top.latents(top), "features": found["features"]}
        bottom = self._runner(("bottom", image.shape), self._bottom(*image.shape))
        return top, self.bottom.nearest(bottom.run(**inputs)["latents"])

    def decode_codes(self, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        """The image of codes [N, h, w] and [N, 2 h, 2 w]."""
        top, bottom = np.asarray(top), np.asarray(bottom)
        if top.ndim != 3 or bottom.shape != (len(top), 2 * top.shape[1], 2 * top.shape[2]):
            raise ValueError(
                "expected codes of the top [N, h, w] and of the bottom [N, 2 h, 2 w], found "
                f"shapes {list(top.shape)} and {list(bottom.shape)}"
            )
        inputs = {"top": self.top.latents(top), "bottom": self.bottom.latents(bottom)}
        runner = self._runner(("decode", top.shape), self._decoder(*top.shape))
        return runner.run(**inputs)["image"]

    # --- programs -----------------------------------------------------------------------------

    def _features(self, count: int, channels: int, height: int, width: int):
        """image → features, and the top's latents."""

        def record(g: ImageGraph, w: ImageWeights) -> None:
            parts = self._parts(g, w)
            x = g.image("image", count, channels, height, width)
            features = parts.encoder("enc_b", x, 2, first=True)
            x = parts.encoder("enc_t", features, 1, first=False)
            x = parts.b.conv("quantize_conv_t", x, self.config.code_channels, 1, quantised=False)
            g.output("latents", x)
            g.output("features", features)

        return record

    def _bottom(self, count: int, _: int, height: int, width: int):
        """The top's codes and features → the bottom's latents."""

        def record(g: ImageGraph, w: ImageWeights) -> None:
            parts, cfg = self._parts(g, w), self.config
            x = g.image("latents", count, cfg.code_channels, height // _TOP, width // _TOP)
            sides = height // _BOTTOM, width // _BOTTOM
            features = g.image("features", count, cfg.channels, *sides)
            x = parts.decoder("dec_t", x, cfg.code_channels, 1, last=False)
            x = g.concat(x, features)
            x = parts.b.conv("quantize_conv_b", x, cfg.code_channels, 1, quantised=False)
            g.output("latents", x)

        return record

    def _decoder(self, count: int, height: int, width: int):
        def record(g: ImageGraph, w: ImageWeights) -> None:
            parts, cfg = self._parts(g, w), self.config
            top = g.image("top", count, cfg.code_channels, height, width)
            bottom = g.image("bottom", count, cfg.code_channels, 2 * height, 2 * width)
            x = g.concat(parts.double("upsample_t", top, cfg.code_channels), bottom)
            g.output("image", parts.decoder("dec", x, cfg.in_channels, 2, last=True))

        return record

    def _parts(self, g: ImageGraph, w: ImageWeights) -> _Parts:
        return _Parts(Blocks(g, w, groups=1, eps=0), self.config)
