"""AutoencoderKL and VQModel: images to latents and back.

Rombach et al., 2022 (arXiv 2112.10752), Esser et al., 2020 (arXiv 2012.09841). Upstream: diffusers'
models/autoencoders/{autoencoder_kl,vq_model,vae}.py.
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
from genfast.images.models._tiles import in_tiles
from genfast.images.models.unet2d import activation_of, block_types
from genfast.images.weights import ImageWeights

_EPS = 1e-6


@dataclass(frozen=True)
class Config:
    in_channels: int
    out_channels: int
    latent_channels: int
    quantised_channels: int  # VQModel: of a code; else the latents'
    channels: tuple[int, ...]
    layers: int
    groups: int
    activation: str
    mid_attention: bool
    quant_conv: bool
    post_quant_conv: bool
    codes: int | None  # VQModel: how many
    scaling_factor: float
    shift_factor: float

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        channels = tuple(cfg.ints("block_out_channels", 1, 1 << 14, default=[64]))
        groups = cfg.int("norm_num_groups", 1, 1 << 14, default=32)
        for size in channels:
            if size % groups:
                cfg.fail("block_out_channels", f"multiples of norm_num_groups = {groups}")
        if cfg.str("norm_type", default="group") != "group":
            cfg.fail("norm_type", '"group"')
        block_types(cfg, "down_block_types", ("DownEncoderBlock2D",), len(channels))
        block_types(cfg, "up_block_types", ("UpDecoderBlock2D",), len(channels))
        latents = cfg.int("latent_channels", 1, 1 << 12, default=4)
        return cls(
            in_channels=cfg.int("in_channels", 1, 1 << 12, default=3),
            out_channels=cfg.int("out_channels", 1, 1 << 12, default=3),
            latent_channels=latents,
            quantised_channels=cfg.int("vq_embed_dim", 1, 1 << 12, default=latents),
            channels=channels,
            layers=cfg.int("layers_per_block", 1, 64, default=1),
            groups=groups,
            activation=activation_of(cfg),
            mid_attention=cfg.bool("mid_block_add_attention", default=True),
            quant_conv=cfg.bool("use_quant_conv", default=True),
            post_quant_conv=cfg.bool("use_post_quant_conv", default=True),
            codes=cfg.int("num_vq_embeddings", 1, 1 << 20, default=None),
            scaling_factor=cfg.number("scaling_factor", 1e-6, 1e6, default=0.18215),
            shift_factor=cfg.number("shift_factor", -1e6, 1e6, default=0.0),
        )

    @property
    def scale(self) -> int:
        """Pixels of a side for one latent."""
        return 2 ** (len(self.channels) - 1)


def _mid(b: Blocks, name: str, x: Tensor, attention: bool) -> Tensor:
    x = b.resnet(f"{name}.mid_block.resnets.0", x, x.shape[1], None)
    if attention:
        x = b.attention(f"{name}.mid_block.attentions.0", x, heads=1)
    return b.resnet(f"{name}.mid_block.resnets.1", x, x.shape[1], None)


def record_encoder(
    g: ImageGraph, cfg: Config, w: ImageWeights, count: int, height: int, width: int
) -> None:
    """image → latents: of a KL model means and log variances, one after the other."""
    b = Blocks(g, w, cfg.groups, _EPS, cfg.activation)
    x = g.image("image", count, cfg.in_channels, height, width)
    x = b.conv("encoder.conv_in", x, cfg.channels[0], quantised=False)
    for i, outputs in enumerate(cfg.channels):
        name = f"encoder.down_blocks.{i}"
        for layer in range(cfg.layers):
            x = b.resnet(f"{name}.resnets.{layer}", x, outputs, None)
        if i < len(cfg.channels) - 1:
            x = b.downsample(name, x, 0)
    x = _mid(b, "encoder", x, cfg.mid_attention)
    x = b.group_norm("encoder.conv_norm_out", x, activation="silu")
    parts = 1 if cfg.codes else 2
    x = b.conv("encoder.conv_out", x, parts * cfg.latent_channels, quantised=False)
    if cfg.quant_conv:
        x = b.conv("quant_conv", x, parts * cfg.quantised_channels, 1, quantised=False)
    g.output("latents", x)


def record_decoder(
    g: ImageGraph, cfg: Config, w: ImageWeights, count: int, height: int, width: int
) -> None:
    """latents → image."""
    b = Blocks(g, w, cfg.groups, _EPS, cfg.activation)
    x = g.image("latents", count, cfg.quantised_channels, height, width)
    if cfg.post_quant_conv:
        x = b.conv("post_quant_conv", x, cfg.latent_channels, 1, quantised=False)
    x = b.conv("decoder.conv_in", x, cfg.channels[-1], quantised=False)
    x = _mid(b, "decoder", x, cfg.mid_attention)
    for i, outputs in enumerate(reversed(cfg.channels)):
        name = f"decoder.up_blocks.{i}"
        for layer in range(cfg.layers + 1):
            x = b.resnet(f"{name}.resnets.{layer}", x, outputs, None)
        if i < len(cfg.channels) - 1:
            x = b.upsample(name, x)
    x = b.group_norm("decoder.conv_norm_out", x, activation="silu")
    g.output("image", b.conv("decoder.conv_out", x, cfg.out_channels, quantised=False))


class _Autoencoder(Network):
    def __init__(self, directory: Path | str, class_name: str, **options) -> None:
        super().__init__(directory, class_name, **options)
        self.config = Config.from_json(self.fields)

    def _encode(self, image: np.ndarray) -> np.ndarray:
        image, (count, _, height, width) = _images(image)
        if height % self.config.scale or width % self.config.scale:
            raise ValueError(
                f"image has {height} × {width} pixels, expected multiples of {self.config.scale}"
            )
        runner = self._runner(
            ("encode", image.shape),
            lambda g, w: record_encoder(g, self.config, w, count, height, width),
        )
        return runner.run(image=image)["latents"]

    def _decode(self, latents: np.ndarray) -> np.ndarray:
        latents, (count, _, height, width) = _images(latents)
        runner = self._runner(
            ("decode", latents.shape),
            lambda g, w: record_decoder(g, self.config, w, count, height, width),
        )
        return runner.run(latents=latents)["image"]


class AutoencoderKL(_Autoencoder):
    """Images [N, C, H, W] of -1 to 1, and latents [N, L, H / scale, W / scale] as the network has
    them: a pipeline multiplies by config.scaling_factor."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "AutoencoderKL", **options)

    def encode(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means and log variances, bounded as upstream's are, of the latents."""
        mean, log_variance = np.split(self._encode(image), 2, axis=1)
        return mean, np.clip(log_variance, -30, 20)

    def decode(self, latents: np.ndarray, *, tile: int | None = None) -> np.ndarray:
        """tile: latents of a side that are decoded at once, so that a large image needs the memory
        of a small one; tiles overlap by a quarter and are blended. Close, but not the same."""
        if tile is None or max(np.shape(latents)[2:]) <= tile:
            return self._decode(latents)
        return in_tiles(self._decode, np.asarray(latents, np.float32), tile, self.config.scale)


class VQModel(_Autoencoder):
    """Images, and latents that are replaced by the nearest of a table of codes."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "VQModel", **options)
        if self.config.codes is None:
            self.fields.fail("num_vq_embeddings", "how many codes there are")
        shape = (self.config.codes, self.config.quantised_channels)
        self.codebook = Codebook(self._weights.array("quantize.embedding.weight", *shape))

    def encode(self, image: np.ndarray) -> np.ndarray:
        """The latents before they are quantised, [N, L, H / scale, W / scale]."""
        return self._encode(image)

    def nearest(self, latents: np.ndarray) -> np.ndarray:
        """The code nearest to each latent, the lower of two: [N, L, h, w] → [N, h, w]."""
        return self.codebook.nearest(latents)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """The image of the codes nearest to latents [N, L, h, w]."""
        return self.decode_codes(self.nearest(latents))

    def decode_codes(self, indices: np.ndarray) -> np.ndarray:
        """The image of codes [N, h, w]."""
        return self._decode(self.codebook.latents(indices))


def _images(array: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    array = np.asarray(array, np.float32)
    if array.ndim != 4:
        raise ValueError(f"expected images [N, C, H, W], found shape {list(array.shape)}")
    return array, array.shape
