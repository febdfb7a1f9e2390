"""BigGAN-deep's generator: classes in every batch norm, attention over pixels, spectral norm.

Brock et al., 2018 (arXiv 1809.11096). Upstream: the package pytorch-pretrained-biggan, whose config
and names of tensors these are. Batch norms have statistics for steps of truncation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images import noise
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._network import Network
from genfast.images.spectral_norm import SpectralCheckpoint
from genfast.images.weights import ImageWeights

_FIRST = 4  # pixels a side that the latents become
_REDUCED = 4  # a block's inner convolutions have so many times fewer channels
_ROUND = 2.0  # latents are noise within two deviations, times the truncation


@dataclass(frozen=True)
class Config:
    latent_size: int
    classes: int
    width: int  # channels of the last block
    layers: tuple[tuple[bool, int, int], ...]  # whether it doubles the image, inputs, outputs
    attention: int  # the layer before which it stands
    eps: float
    statistics: int  # how many truncations batch norms know

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        size = cfg.int("z_dim", 1, 1 << 14)
        if cfg.int("class_embed_dim", 1, 1 << 14, default=size) != size:
            cfg.fail("class_embed_dim", f"{size}, as z_dim")
        width = cfg.int("channel_width", _REDUCED, 1 << 12)
        layers = cfg.values.get("layers")
        if not isinstance(layers, list) or not all(map(_is_layer, layers)):
            cfg.fail("layers", "a list of [doubles the image, inputs, outputs]")
        before = 16
        for i, (_, inputs, outputs) in enumerate(layers):
            if inputs != before or outputs not in (inputs, inputs // 2):
                expected = f"{before} inputs, and as many outputs or half, at layer {i}"
                cfg.fail("layers", expected)
            before = outputs
        if before != 1:
            cfg.fail("layers", "1 output at the end")
        attention = cfg.int("attention_layer_position", 0, len(layers) - 1)
        if width * layers[attention][1] % 8:
            cfg.fail("channel_width", "one that gives attention a multiple of 8 channels")
        config = cls(
            size,
            cfg.int("num_classes", 1, 1 << 20),
            width,
            tuple((bool(up), inputs, outputs) for up, inputs, outputs in layers),
            attention,
            cfg.number("eps", 0, 1, default=1e-4),
            cfg.int("n_stats", 2, 1 << 12, default=51),
        )
        if config.side > 1 << 14:
            cfg.fail("layers", f"images of at most {1 << 14} pixels a side, not {config.side}")
        if cfg.int("output_dim", 1, 1 << 14, default=config.side) != config.side:
            cfg.fail("output_dim", f"{config.side}, what the layers make")
        return config

    @property
    def side(self) -> int:
        return _FIRST << sum(up for up, _, _ in self.layers)

    def norms(self) -> list[tuple[str, int]]:
        """The batch norms and their channels, the one at the end without a class."""
        found = []
        for i, (_, inputs, _) in enumerate(self.layers):
            name = f"generator.layers.{i + (i >= self.attention)}"
            channels = inputs * self.width
            found.append((f"{name}.bn_0", channels))
            found += [(f"{name}.bn_{k}", channels // _REDUCED) for k in (1, 2, 3)]
        return [*found, ("generator.bn", self.width)]


def _is_layer(layer) -> bool:
    return (
        isinstance(layer, list)
        and len(layer) == 3
        and all(isinstance(n, int) and 0 < n <= 1 << 10 for n in layer[1:])
    )


@dataclass(frozen=True)
class _Generator:
    """The layers, for one size of batch. told: noise and class of each image; places: where in
    `statistics` those of a batch norm begin."""

    b: Blocks
    told: Tensor
    statistics: Tensor
    places: dict[str, int]

    def norm(self, name: str, x: Tensor) -> Tensor:
        """relu of the batch norm that its image's class scales and shifts."""
        g, channels, at = self.b.g, x.shape[1], self.places[name]
        weight = self._told(f"{name}.scale", channels, np.ones(channels, np.float32))
        # (x - mean) / deviation · weight + offset, as one factor and one summand.
        options = {"plus_one": False, "name": name}
        factor = g.modulate(weight, self.statistics, scale=at, **options)
        offset = self._told(f"{name}.offset", channels)
        offset = g.modulate(
            weight, self.statistics, scale=at + channels, residual=offset, **options
        )
        both = g.concat(factor, offset)
        return g.modulate(x, both, scale=0, shift=channels, activation="relu", **options)

    def _told(self, name: str, outputs: int, bias: np.ndarray | None = None) -> Tensor:
        weight = self.b.w.matrix(f"{name}.weight", rows=[outputs], cols=self.told.shape[1])
        return self.b.g.matmul(self.told, weight, bias, name=name)

    def block(self, name: str, x: Tensor, outputs: int, double: bool) -> Tensor:
        b, inner = self.b, x.shape[1] // _REDUCED
        h = b.conv(f"{name}.conv_0", self.norm(f"{name}.bn_0", x), inner, 1)
        h = self.norm(f"{name}.bn_1", h)
        h = b.conv(f"{name}.conv_1", b.g.upsample(h) if double else h, inner)
        h = b.conv(f"{name}.conv_2", self.norm(f"{name}.bn_2", h), inner)
        if x.shape[1] != outputs:
            x = b.g.columns(x, 0, outputs)
        x = b.g.upsample(x) if double else x
        return b.conv(f"{name}.conv_3", self.norm(f"{name}.bn_3", h), outputs, 1, residual=x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        """x + gamma · attention of its pixels to those of an image of half the size."""
        g, channels = self.b.g, x.shape[1]
        widths = (channels // 8, channels // 8, channels // 2)
        q, k, v = (
            self._pointwise(f"{name}.snconv1x1_{part}", x, outputs)
            for part, outputs in zip(("theta", "phi", "g"), widths, strict=True)
        )
        k, v = g.max_pool2d(k), g.max_pool2d(v)
        # Values are four times as wide as queries and keys: four heads that see the same.
        for _ in range(2):
            q, k = g.concat(q, q), g.concat(k, k)
        h = g.full_attention(q, k, v, heads=4, scale=1.0, bfloat16=self.b.bfloat16, name=name)
        h = self._pointwise(f"{name}.snconv1x1_o_conv", h, channels)
        gamma = np.full((1, channels), self.b.w.array(f"{name}.gamma", 1)[0], np.float32)
        return g.modulate(h, gamma, scale=0, plus_one=False, residual=x)

    def _pointwise(self, name: str, x: Tensor, outputs: int) -> Tensor:
        weight = self.b.w.conv(f"{name}.weight", outputs, x.shape[1], 1)
        return self.b.g.conv2d(x, weight, kernel=1, padding=0, name=name)


def record(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Inputs points [N, 2 · latent_size, 1, 1], statistics; output images [N, 3, S, S] in
    [-1, 1]."""
    told = g.image("points", count, 2 * cfg.latent_size, 1, 1)
    places, at = {}, 0
    for name, channels in cfg.norms():
        places[name], at = at, at + 2 * channels
    generator = _Generator(Blocks(g, w, 1, cfg.eps), told, g.input("statistics", 1, at), places)
    channels = 16 * cfg.width
    x = generator.b.linear("generator.gen_z", told, _FIRST * _FIRST * channels)
    x = g.pixel_shuffle(x, _FIRST, channels_last=True)
    layer = 0
    for i, (double, _, outputs) in enumerate(cfg.layers):
        if i == cfg.attention:
            x = generator.attention(f"generator.layers.{layer}", x)
            layer += 1
        x = generator.block(f"generator.layers.{layer}", x, outputs * cfg.width, double)
        layer += 1
    at = places["generator.bn"]
    options = {"plus_one": False, "activation": "relu", "name": "generator.bn"}
    x = g.modulate(x, generator.statistics, scale=at, shift=at + cfg.width, **options)
    # Of as many outputs as inputs three are colours.
    name = "generator.conv_to_rgb"
    weight = w.conv(f"{name}.weight", cfg.width, cfg.width, kept=3, quantised=False)
    bias = np.ascontiguousarray(w.vector(f"{name}.bias", sizes=[cfg.width])[:3])
    g.output("images", g.conv2d(x, weight, bias, activation="tanh", name=name))


def statistics(w: ImageWeights, cfg: Config, truncation: float) -> np.ndarray:
    """What batch norms multiply by and add where they are told no class: float32 [1, any].

    Between two known truncations upstream weighs the lower one with how near the upper one is;
    images are to be those that upstream makes.
    """
    # Where 1 / (1 / n) rounds to above n, as for 49, that is still the last one.
    part, lower = math.modf(min(truncation / (1.0 / (cfg.statistics - 1)), cfg.statistics - 1))
    first = int(lower)
    found = []
    for name, channels in cfg.norms():
        shape = (cfg.statistics, channels)
        mean, variance = (w.array(f"{name}.running_{kind}", *shape) for kind in ("means", "vars"))
        mean, variance = (
            x[first] * np.float32(part) + x[first + 1] * np.float32(1 - part) if part else x[first]
            for x in (mean, variance)
        )
        scale = np.float32(1) / np.sqrt(variance + np.float32(cfg.eps))
        offset = -mean * scale
        if name == "generator.bn":
            weight, bias = (w.vector(f"{name}.{x}", sizes=[channels]) for x in ("weight", "bias"))
            scale, offset = scale * weight, offset * weight + bias
        found += [scale, offset]
    return np.concatenate(found)[None]


class BigGAN(Network):
    """A generator of `genfast.images.pipelines.gan`: points are noise, then a class's vector."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "BigGAN", opened=SpectralCheckpoint, **options)
        self.config = cfg = Config.from_json(self.fields)
        shape = (cfg.latent_size, cfg.classes)
        self._classes = np.ascontiguousarray(self._weights.array("embeddings.weight", *shape).T)
        self._statistics: dict[float, np.ndarray] = {}

    def latents(self, seed: int, count: int, truncation: float | None) -> np.ndarray:
        latents = noise.bounded(seed, (count, self.config.latent_size), _ROUND)
        return latents * np.float32(_checked(truncation))

    def points(self, latents: np.ndarray, labels: list[int], truncation=None) -> np.ndarray:
        return np.concatenate([latents, self._classes[np.asarray(labels)]], axis=1)

    def between(self, first: np.ndarray, last: np.ndarray, part: float) -> np.ndarray:
        return noise.between(first, last, part, self.config.latent_size)

    def __call__(self, points: np.ndarray, truncation: float | None = None) -> np.ndarray:
        truncation = _checked(truncation)
        cfg, count = self.config, len(points)
        told = self._statistics.get(truncation)
        if told is None:  # one is kept: a call after the other asks alike
            told = statistics(self._weights, cfg, truncation)
            self._statistics = {truncation: told}
        runner = self._runner(count, lambda g, w: record(g, w, cfg, count))
        return runner.run(points=points[:, :, None, None], statistics=told)["images"]


def _checked(truncation: float | None) -> float:
    truncation = 1.0 if truncation is None else float(truncation)
    if not 0 < truncation <= 1:
        raise ValueError(
            f"truncation={truncation} is not allowed; allowed: above 0, to 1 (this model's batch "
            "norms know no other)"
        )
    return truncation
