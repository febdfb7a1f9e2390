"""StyleGAN2's generator: latents are mapped to styles, which scale what convolutions read.

Karras et al., 2019 (arXiv 1912.04958). Names of tensors are those of G_ema in NVlabs'
stylegan2-ada-pytorch and stylegan3. A convolution whose weights a style scales is a convolution of
scaled pixels; what keeps its outputs at length one (demodulation) scales these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast import _core
from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images import noise
from genfast.images.graph import ImageGraph
from genfast.images.models._network import Network, one_hot
from genfast.images.weights import ImageWeights
from genfast.weights import PackedWeight

_FIRST = 4  # pixels a side of the constant that images begin with
_GAIN = np.float32(math.sqrt(2))  # after leaky relu, so that numbers keep their size
_EPS = 1e-8
_SLOWER = 0.01  # the mapping's learning rate: its weights are stored divided by it


@dataclass(frozen=True)
class Config:
    latent_size: int
    classes: int | None
    styles: int  # numbers that the mapping gives
    side: int
    colours: int
    base: int
    most: int
    mapping: int  # layers of it
    clamp: float | None

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        side = cfg.int("img_resolution", 2 * _FIRST, 1 << 13)
        if side & (side - 1):
            cfg.fail("img_resolution", "a power of 2")
        if cfg.str("architecture", default="skip") != "skip":
            cfg.fail("architecture", '"skip"')
        colours = cfg.int("img_channels", 1, 3, default=3)
        if colours == 2:
            cfg.fail("img_channels", "1 or 3")
        return cls(
            cfg.int("z_dim", 1, 1 << 14),
            cfg.int("c_dim", 0, 1 << 20, default=0) or None,
            cfg.int("w_dim", 1, 1 << 14),
            side,
            colours,
            cfg.int("channel_base", 1, 1 << 20, default=32768),
            cfg.int("channel_max", 1, 1 << 14, default=512),
            cfg.int("num_mapping_layers", 1, 64, default=8),
            cfg.number("conv_clamp", 0, 1e9, default=None),
        )

    def channels(self, side: int) -> int:
        return max(1, min(self.base // side, self.most))

    def sides(self) -> list[int]:
        return [_FIRST << i for i in range((self.side // _FIRST).bit_length())]

    def layers(self) -> list[Layer]:
        """The convolutions that styles scale, in their order."""
        found = []
        for side in self.sides():
            name, channels = f"synthesis.b{side}", self.channels(side)
            if side > _FIRST:
                found.append(Layer(f"{name}.conv0", side, self.channels(side // 2), channels, True))
            found.append(Layer(f"{name}.conv1", side, channels, channels, False))
            found.append(Layer(f"{name}.torgb", side, channels, self.colours, False))
        return found


@dataclass(frozen=True)
class Layer:
    name: str
    side: int
    inputs: int
    outputs: int
    double: bool  # whether it makes the image twice as wide and high

    @property
    def gives_colours(self) -> bool:
        return self.name.endswith("torgb")

    @property
    def kernel(self) -> int:
        return 1 if self.gives_colours else 3


def record_mapping(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Inputs latents [N, latent_size] and, with classes, labels [N, classes]; output styles."""
    x = _of_length_one(g, g.input("latents", count, cfg.latent_size))
    if cfg.classes is not None:
        labels = g.input("labels", count, cfg.classes)
        told = _linear(g, w, "mapping.embed", labels, cfg.styles)
        x = g.concat(x, _of_length_one(g, told))
    for i in range(cfg.mapping):
        x = _linear(g, w, f"mapping.fc{i}", x, cfg.styles, rate=_SLOWER, activated=True)
    g.output("styles", x)


def _of_length_one(g: ImageGraph, x: Tensor) -> Tensor:
    return g.rms_norm(x, np.ones(x.shape[1], np.float32), _EPS)


def _linear(
    g: ImageGraph,
    w: ImageWeights,
    name: str,
    x: Tensor,
    outputs: int,
    *,
    rate: float = 1.0,
    gain: float = 1.0,
    activated: bool = False,
) -> Tensor:
    """A layer whose weights are stored so that all learn alike: what they mean is that · rate /
    sqrt(inputs). gain: of the outputs."""
    weight = w.matrix(f"{name}.weight", rows=[outputs], cols=x.shape[1])
    bias = w.vector(f"{name}.bias", sizes=[outputs])
    gain = float(_GAIN) if activated else gain  # leaky relu lets a positive factor through
    factor = np.full(outputs, gain * rate / math.sqrt(x.shape[1]), np.float32)
    both = np.concatenate([factor, bias * np.float32(gain * rate)])[None]
    return g.modulate(
        g.matmul(x, weight, name=name),
        both,
        scale=0,
        shift=outputs,
        plus_one=False,
        activation="leaky_relu" if activated else "none",
        name=name,
    )


def record_scales(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Input styles [N, styles]; of each layer, output NAME, what it multiplies its inputs by, and
    NAME.squares, of each of its outputs the squares of the weights that this makes."""
    styles = g.input("styles", count, cfg.styles)
    for layer in cfg.layers():
        gain = 1 / math.sqrt(layer.inputs) if layer.gives_colours else 1.0
        scales = _linear(g, w, f"{layer.name}.affine", styles, layer.inputs, gain=gain)
        g.output(layer.name, scales)
        if not layer.gives_colours:
            squares = g.modulate(scales, scales, scale=0, plus_one=False)
            g.output(f"{layer.name}.squares", g.matmul(squares, _squares(w, layer)))


def _squares(w: ImageWeights, layer: Layer) -> PackedWeight:
    """The sums of a convolution's squared weights over its pixels: [outputs, inputs]."""
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    weight = w.array(f"{layer.name}.weight", *shape)
    sums = np.ascontiguousarray((weight * weight).sum(axis=(2, 3)))
    source = (sums.reshape(-1).view(np.uint8), "F32", *sums.shape, False)
    return PackedWeight(f"{layer.name}.squares", _core.Weight("f32", [source], w.threads))


def record_synthesis(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Inputs as `record_scales` gives, NAME.outputs for NAME.squares: what outputs are multiplied
    by, and then the biases, the same for each image; constant, that every image begins with; output
    images [N, C, S, S]."""
    x, image = g.image("constant", count, cfg.channels(_FIRST), _FIRST, _FIRST), None
    for layer in cfg.layers():
        scales = g.input(layer.name, count, layer.inputs)
        h = g.modulate(x, scales, scale=0, plus_one=False, name=layer.name)
        if not layer.gives_colours:
            x = _convolution(g, w, cfg, layer, h, count)
            continue
        weight = w.conv(f"{layer.name}.weight", layer.outputs, layer.inputs, 1, quantised=False)
        bias = w.vector(f"{layer.name}.bias", sizes=[layer.outputs])
        colours = g.conv2d(h, weight, bias, kernel=1, padding=0, name=layer.name)
        colours = _clamped(g, cfg, colours)
        if image is not None:
            image = _filtered(g, w, f"synthesis.b{layer.side}", image, up=2, padding=(2, 2, 1, 1))
        image = colours if image is None else g.add(image, colours)
    g.output("images", image)


def _convolution(
    g: ImageGraph, w: ImageWeights, cfg: Config, layer: Layer, h: Tensor, count: int
) -> Tensor:
    """leaky relu of the convolution of scaled pixels, scaled, with noise and bias."""
    name, sizes = f"{layer.name}.weight", (layer.inputs, layer.outputs)
    if layer.double:
        weight = w.conv_transpose(name, *sizes, layer.kernel, outputs_first=True)
        h = g.conv_transpose2d(h, weight, kernel=3, stride=2, padding=0, name=layer.name)
        h = _filtered(g, w, layer.name, h, up=1, padding=1)
    else:
        h = g.conv2d(h, w.conv(name, *sizes[::-1]), name=layer.name)
    strength = w.array(f"{layer.name}.noise_strength")
    shape = (layer.side, layer.side)
    added = w.array(f"{layer.name}.noise_const", *shape).reshape(-1) * (strength * _GAIN)
    x = g.modulate(
        h,
        g.input(f"{layer.name}.outputs", count, 2 * layer.outputs),
        scale=0,
        shift=layer.outputs,
        plus_one=False,
        noise=added,
        activation="leaky_relu",
        name=f"{layer.name}.act",
    )
    return _clamped(g, cfg, x)


def _clamped(g: ImageGraph, cfg: Config, x: Tensor) -> Tensor:
    return x if not cfg.clamp else g.bound(x, cfg.clamp)


def _filtered(g: ImageGraph, w: ImageWeights, name: str, x: Tensor, *, up: int, padding) -> Tensor:
    """x smoothed, as what was doubled by zeros between pixels must be; hence the gain of 4."""
    taps = w.array(f"{name}.resample_filter", 4, 4)[::-1, ::-1] * np.float32(4)
    return g.depthwise_conv2d(x, taps, up=up, padding=padding, name=f"{name}.filter")


class StyleGAN2(Network):
    """A generator of `genfast.images.pipelines.gan`: points are styles, drawn towards the average
    by truncation (psi)."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "StyleGAN2", **options)
        self.config = cfg = Config.from_json(self.fields)
        self._average = self._weights.vector("mapping.w_avg", sizes=[cfg.styles])
        shape = (cfg.channels(_FIRST), _FIRST, _FIRST)
        self._constant = self._weights.array(f"synthesis.b{_FIRST}.const", *shape)

    def latents(self, seed: int, count: int, truncation: float | None) -> np.ndarray:
        return noise.batch(seed, noise.INITIAL, (count, self.config.latent_size))

    def points(self, latents: np.ndarray, labels: list[int], truncation=None) -> np.ndarray:
        cfg, count = self.config, len(latents)
        told = {}
        if cfg.classes is not None:
            told["labels"] = one_hot(labels, cfg.classes)
        runner = self._runner(("map", count), lambda g, w: record_mapping(g, w, cfg, count))
        styles = runner.run(latents=latents, **told)["styles"]
        if truncation is None:
            return styles
        return self._average + (styles - self._average) * np.float32(truncation)

    def between(self, first: np.ndarray, last: np.ndarray, part: float) -> np.ndarray:
        return first + (last - first) * np.float32(part)

    def __call__(self, points: np.ndarray, truncation: float | None = None) -> np.ndarray:
        """truncation has done its work in `points`."""
        cfg, count = self.config, len(points)
        runner = self._runner(("scale", count), lambda g, w: record_scales(g, w, cfg, count))
        inputs = runner.run(styles=points)
        for layer in cfg.layers():
            if layer.gives_colours:
                continue
            lengths = np.sqrt(inputs.pop(f"{layer.name}.squares") + np.float32(_EPS))
            bias = self._weights.vector(f"{layer.name}.bias", sizes=[layer.outputs]) * _GAIN
            both = [_GAIN / lengths, np.broadcast_to(bias, lengths.shape)]
            inputs[f"{layer.name}.outputs"] = np.concatenate(both, axis=1)
        inputs["constant"] = np.broadcast_to(self._constant, (count, *self._constant.shape))
        runner = self._runner(("make", count), lambda g, w: record_synthesis(g, w, cfg, count))
        return runner.run(**inputs)["images"]
