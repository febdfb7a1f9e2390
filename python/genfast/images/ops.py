"""The kernels of images, alone, on numpy arrays; `genfast.ops` has them all.

Each call records a program of one op and runs it, so shapes are checked as a model's are. Images
are [N, C, H, W], sequences [N, T, E]; all float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.runner import Runner
from genfast.weights import PackedWeight

__all__ = [
    "add",
    "concat",
    "conv2d",
    "conv_transpose2d",
    "depthwise_conv2d",
    "full_attention",
    "group_norm",
    "max_pool2d",
    "modulate",
    "pixel_shuffle",
    "upsample",
    "winograd_conv2d",
]


def conv2d(
    x,
    weight,
    bias=None,
    *,
    kernel: int | tuple[int, int] = 3,
    stride: int = 1,
    padding: int | Sequence[int] = 1,
    activation: str = "none",
    residual=None,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """activation(x ∗ weight + bias) + residual, ∗ being what networks call convolution.

    x [N, C, H, W]; weight packed [O, kh · kw · C], its columns a tap after the other; bias [O] →
    [N, O, H', W'] as residual. padding: zeros on all sides, or (top, left, bottom, right).
    """

    def record(g: ImageGraph, x: Tensor, residual: Tensor | None) -> Tensor:
        return g.conv2d(
            x,
            PackedWeight("weight", weight),
            _vector(bias),
            kernel=kernel,
            stride=stride,
            padding=padding,
            activation=activation,
            residual=residual,
        )

    return _run(record, [x, residual], isa, threads)


def winograd_conv2d(
    x,
    weight,
    outputs: int,
    bias=None,
    *,
    activation: str = "none",
    residual=None,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """`conv2d` of 3 × 3 taps, stride 1 and padding 1, by Winograd's F(2 × 2, 3 × 3) (Lavin and
    Gray 2015).

    x [N, C, H, W]; weight packed: `genfast.images.weights.winograd_filters` of filters
    [outputs, C, 3, 3]; bias [outputs] → [N, outputs, H, W] as residual. C and outputs are
    multiples of 16.
    """

    def record(g: ImageGraph, x: Tensor, residual: Tensor | None) -> Tensor:
        packed = PackedWeight("weight", weight)
        options = {"activation": activation, "residual": residual}
        return g.winograd_conv2d(x, packed, outputs, _vector(bias), **options)

    return _run(record, [x, residual], isa, threads)


def conv_transpose2d(
    x,
    weight,
    bias=None,
    *,
    kernel: int = 4,
    stride: int = 2,
    padding: int = 1,
    activation: str = "none",
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """activation of the gradient of a convolution, as a layer (arXiv 1511.06434), + bias.

    x [N, C, H, W]; weight packed [kernel · kernel · O, C], a tap after the other; bias [O] →
    [N, O, (H − 1) · stride − 2 · padding + kernel, …].
    """

    def record(g: ImageGraph, x: Tensor) -> Tensor:
        return g.conv_transpose2d(
            x,
            PackedWeight("weight", weight),
            _vector(bias),
            kernel=kernel,
            stride=stride,
            padding=padding,
            activation=activation,
        )

    return _run(record, [x], isa, threads)


def depthwise_conv2d(
    x,
    weight,
    bias=None,
    *,
    stride: int = 1,
    up: int = 1,
    padding: int | Sequence[int] = 1,
    activation: str = "none",
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """activation(x ∗ weight + bias), each channel by itself.

    x [N, C, H, W]; weight [C, kh, kw], or [kh, kw]: the same for all; bias [C] → [N, C, H', W'].
    padding: as in `conv2d`. up: zeros are put behind each pixel first, so that x is `up` times
    wider and higher: with `stride`, upfirdn of StyleGAN (arXiv 1912.04958).
    """

    def record(g: ImageGraph, x: Tensor) -> Tensor:
        return g.depthwise_conv2d(
            x,
            weight,
            _vector(bias),
            stride=stride,
            up=up,
            padding=padding,
            activation=activation,
        )

    return _run(record, [x], isa, threads)


def max_pool2d(x, size: int = 2, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """The largest of each size × size pixels: x [N, C, H, W] → [N, C, H // size, W // size]."""
    return _run(lambda g, x: g.max_pool2d(x, size), [x], isa, threads)


def group_norm(
    x,
    weight=None,
    bias=None,
    groups: int = 32,
    eps: float = 1e-5,
    *,
    shift=None,
    activation: str = "none",
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """activation((x + shift − mean) / sqrt(var + eps) · weight + bias); mean and (population) var
    over each image's pixels and C / groups channels. Wu and He, 2018 (arXiv 1803.08494).

    x [N, C, H, W], weight and bias [C], shift [N, C] → as x.
    """

    def record(g: ImageGraph, x: Tensor, shift: Tensor | None) -> Tensor:
        return g.group_norm(
            x, _vector(weight), _vector(bias), groups, eps, shift=shift, activation=activation
        )

    return _run(record, [x, shift], isa, threads)


def upsample(x, factor: int = 2, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """Every pixel factor × factor times: [N, C, H, W] → [N, C, H · factor, W · factor]."""
    return _run(lambda g, x: g.upsample(x, factor), [x], isa, threads)


def pixel_shuffle(
    x, factor: int = 2, *, channels_last: bool = False, isa: str = "", threads: int = 0
) -> np.ndarray:
    """[N, C · factor², H, W] → [N, C, H · factor, W · factor]. Shi et al., 2016 (arXiv 1609.05158).

    channels_last: a pixel's channels come as (factor, factor, C) instead of (C, factor, factor).
    """
    return _run(
        lambda g, x: g.pixel_shuffle(x, factor, channels_last=channels_last), [x], isa, threads
    )


def full_attention(
    q,
    k,
    v,
    *,
    heads: int,
    scale: float | None = None,
    causal: bool = False,
    bias=None,
    mask=None,
    bfloat16: bool = False,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """softmax(q · k · scale + bias + mask) · v, every query over all keys of its item.

    q [N, Tq, H · D], k and v [N, Tk, H · D] → as q. scale: D ** -0.5 by default; bias [H, Tq, Tk]
    or [Tq, Tk]; mask [N, Tk]. Vaswani et al., 2017 (arXiv 1706.03762). bfloat16: queries, keys,
    values and weights are rounded to bfloat16.
    """
    items = np.shape(q)[0] if np.ndim(q) == 3 else 1
    biases = None if bias is None else np.asarray(bias, np.float32)

    def record(g, q, k, v, mask, bias) -> Tensor:
        return g.full_attention(
            q,
            k,
            v,
            heads=heads,
            items=items,
            scale=scale,
            causal=causal,
            bias=bias,
            mask=mask,
            bfloat16=bfloat16,
        )

    flat = None if biases is None else biases.reshape(-1, biases.shape[-1])
    return _run(record, [q, k, v, mask, flat], isa, threads)


def modulate(
    x,
    scale=None,
    shift=None,
    *,
    plus_one: bool = True,
    noise=None,
    activation: str = "none",
    residual=None,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """activation(x · (1 + scale) + shift + noise) + residual; scale, shift [N, C] are an item's.

    x [N, T, C], noise [T], residual as x → as x. plus_one: false for x · scale + shift. Peebles and
    Xie, 2022 (arXiv 2212.09748).
    """
    given = [np.asarray(part, np.float32) for part in (scale, shift) if part is not None]
    if not given:
        raise ValueError("modulate needs a scale or a shift")
    columns = given[0].shape[-1]

    def record(g, x, conditions, residual) -> Tensor:
        return g.modulate(
            x,
            conditions,
            scale=None if scale is None else 0,
            shift=None if shift is None else (0 if scale is None else columns),
            plus_one=plus_one,
            noise=_vector(noise),
            activation=activation,
            residual=residual,
        )

    return _run(record, [x, np.concatenate(given, axis=-1), residual], isa, threads)


def add(x, y, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """x + y, where y's rows (all axes but the last) repeat as often as they fit x's."""
    return _run(lambda g, x, y: g.add(x, y), [x, y], isa, threads)


def concat(x, y, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """The channels of x [N, C, H, W], then those of y [N, D, H, W]; of rows the last axes."""
    return _run(lambda g, x, y: g.concat(x, y), [x, y], isa, threads)


def _run(record: Callable[..., Tensor], arrays: list, isa: str, threads: int) -> np.ndarray:
    """record(g, tensor of each array or None) run once; the result has the first array's rank."""
    g, tensors, given = ImageGraph(), [], {}
    for index, array in enumerate(arrays):
        if array is None:
            tensors.append(None)
            continue
        array = np.asarray(array, np.float32)
        if array.ndim < 2 or array.size == 0:
            raise ValueError(f"expected two axes or more, found shape {list(array.shape)}")
        name = f"input_{index}"
        if array.ndim == 4:
            tensors.append(g.image(name, *array.shape))
        else:
            array = np.ascontiguousarray(array.reshape(-1, array.shape[-1]))
            tensors.append(g.input(name, *array.shape))
        given[name] = array
    g.output("out", record(g, *tensors))
    out = Runner(g, isa=isa, threads=threads).run(**given)["out"]
    first = np.shape(arrays[0])
    return out if len(first) in (2, 4) else out.reshape(*first[:-1], out.shape[-1])


def _vector(data) -> np.ndarray | None:
    return None if data is None else np.ascontiguousarray(data, np.float32)
