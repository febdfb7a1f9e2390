"""VQGAN: codes to images, as taming-transformers spells it, and LlamaGen's, which Janus took.

Esser et al., 2021 (arXiv 2012.09841), Sun et al., 2024 (arXiv 2406.06525); upstream: CompVis'
taming/modules/diffusionmodules/model.py, and transformers' modeling_janus.py, where the blocks of
the coarsest level come first and codes have length 1. The decoder alone.
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
from genfast.models.janus import vq_fields

_GROUPS, _EPS = 32, 1e-6


@dataclass(frozen=True)
class Config:
    """channels: of every level, the finest first. attention: the levels that have it."""

    codes: int
    code_channels: int
    latent_channels: int
    out_channels: int
    channels: tuple[int, ...]
    layers: int
    attention: frozenset[int]
    coarsest_first: bool  # how levels are numbered in names
    unit_codes: bool
    side: int  # codes of a side

    @property
    def scale(self) -> int:
        """Pixels of a side for one code."""
        return 2 ** (len(self.channels) - 1)

    @classmethod
    def of_taming(cls, cfg: Fields) -> Config:
        """n_embed, embed_dim and ddconfig, as in the yaml files upstream."""
        dd = cfg.object("ddconfig")
        channels = _channels(dd, "ch", "ch_mult", {})
        resolution = dd.int("resolution", 1, 1 << 14)
        if resolution % 2 ** (len(channels) - 1):
            dd.fail("resolution", f"a multiple of {2 ** (len(channels) - 1)}, by ch_mult")
        attended = dd.ints("attn_resolutions", 1, 1 << 14, default=())
        return cls(
            codes=cfg.int("n_embed", 1, 1 << 20),
            code_channels=cfg.int("embed_dim", 1, 1 << 12),
            latent_channels=dd.int("z_channels", 1, 1 << 12),
            out_channels=dd.int("out_ch", 1, 1 << 12),
            channels=channels,
            layers=dd.int("num_res_blocks", 1, 64),
            attention=frozenset(i for i in range(len(channels)) if resolution >> i in attended),
            coarsest_first=False,
            unit_codes=False,
            side=resolution // 2 ** (len(channels) - 1),
        )

    @classmethod
    def of_janus(cls, cfg: Fields) -> Config:
        """vq_config, and from vision_config how many codes an image has."""
        vq = vq_fields(cfg)
        vision = cfg.object("vision_config", default=None)
        vision = vision or Fields({}, cfg.file, "vision_config.")
        size = vision.int("image_size", 1, 1 << 14, default=384)
        patch = vision.int("patch_size", 1, 1 << 10, default=16)
        side = size // patch
        if side < 1:
            vision.fail("patch_size", f"at most image_size = {size}")
        if vision.int("num_image_tokens", 1, 1 << 20, default=576) != side * side:
            vision.fail("num_image_tokens", f"{side} · {side} by image_size and patch_size")
        channels = _channels(
            vq,
            "base_channels",
            "channel_multiplier",
            {"base_channels": 128, "channel_multiplier": [1, 1, 2, 2, 4]},
        )
        return cls(
            codes=vq.int("num_embeddings", 1, 1 << 20, default=16384),
            code_channels=vq.int("embed_dim", 1, 1 << 12, default=8),
            latent_channels=vq.int("latent_channels", 1, 1 << 12, default=256),
            out_channels=vq.int("out_channels", 1, 1 << 12, default=3),
            channels=channels,
            layers=vq.int("num_res_blocks", 1, 64, default=2),
            attention=frozenset([len(channels) - 1]),
            coarsest_first=True,
            unit_codes=True,
            side=side,
        )


def _channels(cfg: Fields, base: str, multipliers: str, defaults: dict) -> tuple[int, ...]:
    cfg = cfg.with_defaults(**defaults)
    channels = tuple(
        cfg.int(base, 1, 1 << 14) * n for n in cfg.ints(multipliers, 1, 1 << 10, most=16)
    )
    if not channels:
        cfg.fail(multipliers, "at least one level")
    if any(count % _GROUPS for count in channels):
        cfg.fail(base, f"multiples of {_GROUPS}, the groups of its norms, at every level")
    return channels


def record_decoder(
    g: ImageGraph, cfg: Config, w: ImageWeights, count: int, height: int, width: int
) -> None:
    """latents → image."""
    b = Blocks(g, w, _GROUPS, _EPS, shortcut="nin_shortcut")
    x = g.image("latents", count, cfg.code_channels, height, width)
    x = b.conv("post_quant_conv", x, cfg.latent_channels, 1, quantised=False)
    x = b.conv("decoder.conv_in", x, cfg.channels[-1], quantised=False)
    x = b.resnet("decoder.mid.block_1", x, x.shape[1], None)
    x = _attention(b, "decoder.mid.attn_1", x)
    x = b.resnet("decoder.mid.block_2", x, x.shape[1], None)
    last = len(cfg.channels) - 1
    for level in range(last, -1, -1):
        name = f"decoder.up.{last - level if cfg.coarsest_first else level}"
        for layer in range(cfg.layers + 1):
            x = b.resnet(f"{name}.block.{layer}", x, cfg.channels[level], None)
            if level in cfg.attention:
                x = _attention(b, f"{name}.attn.{layer}", x)
        if level > 0:
            x = b.conv(f"{name}.upsample.conv", g.upsample(x), x.shape[1])
    x = b.group_norm("decoder.norm_out", x, activation="silu")
    g.output("image", b.conv("decoder.conv_out", x, cfg.out_channels, quantised=False))


def _attention(b: Blocks, name: str, x: Tensor) -> Tensor:
    """x + attention over the pixels of the normed image; projections are 1 × 1 convolutions."""
    channels = x.shape[1]
    h = b.group_norm(f"{name}.norm", x)
    q, k, v = (b.conv(f"{name}.{part}", h, channels, 1) for part in "qkv")
    h = b.g.full_attention(q, k, v, heads=1, bfloat16=b.bfloat16, name=name)
    return b.conv(f"{name}.proj_out", h, channels, 1, residual=x)


class VQGAN(Network):
    """Codes [N, h, w] to images [N, C, h · scale, w · scale] of about -1 to 1.

    prefix: of its tensors in a checkpoint of more.
    """

    def __init__(self, directory: Path | str, prefix: str = "", **options) -> None:
        super().__init__(directory, "VQGAN", **options)
        self._weights.prefix = prefix
        janus = self.fields.str("model_type", default="vqgan") == "janus"
        self.config = Config.of_janus(self.fields) if janus else Config.of_taming(self.fields)
        shape = (self.config.codes, self.config.code_channels)
        codes = self._weights.array("quantize.embedding.weight", *shape)
        if self.config.unit_codes:
            length = np.sqrt((codes**2).sum(1, keepdims=True))
            codes = codes / np.maximum(length, np.float32(1e-12))
        self.codebook = Codebook(codes)

    def decode_codes(self, indices: np.ndarray) -> np.ndarray:
        """The image of codes [N, h, w]."""
        latents = self.codebook.latents(indices)
        count, _, height, width = latents.shape
        runner = self._runner(
            latents.shape,
            lambda g, w: record_decoder(g, self.config, w, count, height, width),
        )
        return runner.run(latents=latents)["image"]
