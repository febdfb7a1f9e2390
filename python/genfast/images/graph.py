"""The recorder of image models: fixed sizes, named inputs, several outputs.

An image is a matrix with a pixel a row (N·H·W, row by row of each image: NHWC) and a channel a
column; its tensor's `grid` says (N, H, W). All that `Graph` has (matmul, norms, activation …) works
on such matrices too and keeps the grid. "Items" are the images or sequences of a batch: each has
rows / N consecutive rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from genfast.graph import Graph, Tensor


class ImageGraph(Graph):
    """Records a static program, for `genfast.images.runner.Runner`."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: dict[str, Tensor] = {}
        self.outputs: dict[str, Tensor] = {}

    def input(self, name: str, rows: int, cols: int) -> Tensor:
        """A matrix that every run is given: [rows, cols]."""
        return self._input(name, rows, cols, None)

    def image(self, name: str, count: int, channels: int, height: int, width: int) -> Tensor:
        """Images that every run is given, as [N, C, H, W]."""
        return self._input(name, count * height * width, channels, (count, height, width))

    def output(self, name: str, x: Tensor) -> None:
        """x is a result of every run: [rows, cols], or of images [N, C, H, W]."""
        self.program.add_output(x.id)
        self.outputs[name] = x

    # --- images -------------------------------------------------------------------------------

    def conv2d(
        self,
        x: Tensor,
        weight,
        bias: np.ndarray | None = None,
        *,
        kernel: int | tuple[int, int] = 3,
        stride: int = 1,
        padding: int | Sequence[int] = 1,
        activation: str = "none",
        residual: Tensor | None = None,
        name="conv2d",
    ) -> Tensor:
        """activation(x ∗ weight + bias) + residual. weight: `ImageWeights.conv`; padding: of all
        sides, or (top, left, bottom, right)."""
        count, height, width = self._grid(x)
        kh, kw = _pair(kernel)
        top, left, bottom, right = [padding] * 4 if isinstance(padding, int) else padding
        attributes = {
            "height": height,
            "width": width,
            "kernel_h": kh,
            "kernel_w": kw,
            "stride": stride,
            "top": top,
            "left": left,
            "bottom": bottom,
            "right": right,
            "activation": activation,
        }
        inputs = [x, self._matrix(weight), self._constant(bias), residual]
        grid = (
            count,
            _places(height + top + bottom, kh, stride),
            _places(width + left + right, kw, stride),
        )
        return self._append("conv2d", inputs, attributes, name, grid)

    def winograd_conv2d(
        self,
        x: Tensor,
        weight,
        outputs: int,
        bias: np.ndarray | None = None,
        *,
        activation: str = "none",
        residual: Tensor | None = None,
        name="winograd_conv2d",
    ) -> Tensor:
        """`conv2d` of 3 × 3 taps, stride 1 and padding 1, with 16 products for 36; it rounds more.
        weight: `ImageWeights.winograd_conv`."""
        count, height, width = self._grid(x)
        attributes = {"height": height, "width": width, "outputs": outputs}
        attributes["activation"] = activation
        inputs = [x, self._matrix(weight), self._constant(bias), residual]
        return self._append("winograd_conv2d", inputs, attributes, name, (count, height, width))

    def conv_transpose2d(
        self,
        x: Tensor,
        weight,
        bias: np.ndarray | None = None,
        *,
        kernel: int = 4,
        stride: int = 2,
        padding: int = 1,
        activation: str = "none",
        name="conv_transpose2d",
    ) -> Tensor:
        """activation of the transposed convolution + bias: each side becomes
        (side − 1) · stride − 2 · padding + kernel. weight: `ImageWeights.conv_transpose`."""
        count, height, width = self._grid(x)
        attributes = {
            "height": height,
            "width": width,
            "kernel": kernel,
            "stride": stride,
            "padding": padding,
            "activation": activation,
        }
        inputs = [x, self._matrix(weight), self._constant(bias)]
        sides = [(side - 1) * stride - 2 * padding + kernel for side in (height, width)]
        return self._append("conv_transpose2d", inputs, attributes, name, (count, *sides))

    def depthwise_conv2d(
        self,
        x: Tensor,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        stride: int = 1,
        up: int = 1,
        padding: int | Sequence[int] = 1,
        activation: str = "none",
        name="depthwise_conv2d",
    ) -> Tensor:
        """activation(x ∗ weight + bias), each channel by itself. weight [C, kh, kw], or [kh, kw]:
        the same for all. up: so many times wider and higher x is first, by zeros behind each
        pixel. padding: as in `conv2d`."""
        count, height, width = self._grid(x)
        weight = np.asarray(weight, np.float32)
        if weight.ndim not in (2, 3) or weight.size == 0:
            raise ValueError(
                f"weight has shape {list(weight.shape)}, expected [kh, kw] or [C, kh, kw]"
            )
        kh, kw = weight.shape[-2:]
        top, left, bottom, right = [padding] * 4 if isinstance(padding, int) else padding
        attributes = {
            "height": height,
            "width": width,
            "kernel_h": kh,
            "kernel_w": kw,
            "stride": stride,
            "up": up,
            "top": top,
            "left": left,
            "bottom": bottom,
            "right": right,
            "activation": activation,
        }
        taps = np.ascontiguousarray(weight.reshape(-1, kh * kw).T)  # [kh · kw, C or 1]
        grid = (
            count,
            _places(height * up + top + bottom, kh, stride),
            _places(width * up + left + right, kw, stride),
        )
        inputs = [x, self._constant(taps), self._constant(bias)]
        return self._append("depthwise_conv2d", inputs, attributes, name, grid)

    def max_pool2d(self, x: Tensor, size: int = 2, *, name="max_pool2d") -> Tensor:
        """The largest of each size × size pixels."""
        count, height, width = self._grid(x)
        attributes = {"height": height, "width": width, "size": size}
        grid = (count, _places(height, size, size), _places(width, size, size))
        return self._append("max_pool2d", [x], attributes, name, grid)

    def group_norm(
        self,
        x: Tensor,
        weight: np.ndarray | None,
        bias: np.ndarray | None,
        groups: int,
        eps: float,
        *,
        shift: Tensor | None = None,
        activation: str = "none",
        name="group_norm",
    ) -> Tensor:
        """activation(norm(x + shift) · weight + bias) over groups of channels of each image; shift
        [N, C]: of each image's channels, a timestep's embedding."""
        count = self._items(x)
        attributes = {
            "items": count,
            "groups": groups,
            "eps": float(eps),
            "activation": activation,
        }
        inputs = [x, self._constant(weight), self._constant(bias), shift]
        return self._append("group_norm", inputs, attributes, name)

    def upsample(self, x: Tensor, factor: int = 2, *, name="upsample") -> Tensor:
        """Every pixel `factor` × `factor` times (nearest)."""
        count, height, width = self._grid(x)
        attributes = {"height": height, "width": width, "factor": factor}
        grid = (count, height * factor, width * factor)
        return self._append("upsample", [x], attributes, name, grid)

    def pixel_shuffle(
        self, x: Tensor, factor: int = 2, *, channels_last: bool = False, name="pixel_shuffle"
    ) -> Tensor:
        """A pixel's C · factor² channels become C of factor × factor pixels. Channels come as
        (C, factor, factor), as in torch; channels_last: as (factor, factor, C), as a diffusion
        transformer's patches do."""
        count, height, width = self._grid(x)
        attributes = {
            "height": height,
            "width": width,
            "factor": factor,
            "channels_last": channels_last,
        }
        grid = (count, height * factor, width * factor)
        return self._append("pixel_shuffle", [x], attributes, name, grid)

    # --- items --------------------------------------------------------------------------------

    def full_attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        heads: int,
        items: int = 0,
        scale: float | None = None,
        causal: bool = False,
        bias: Tensor | np.ndarray | None = None,
        mask: Tensor | None = None,
        bfloat16: bool = False,
        name="full_attention",
    ) -> Tensor:
        """softmax(q · k · scale + bias + mask) · v within each item; no cache.

        q [N·Tq, H·D], k, v [N·Tk, H·D] → [N·Tq, H·D]. scale: D ** -0.5 by default. bias: [H·Tq, Tk]
        or [Tq, Tk], the same for every item (T5). mask: [N, Tk], added to all scores of an item's
        key. items: N (0: of q's grid). bfloat16: products of numbers rounded to bfloat16.
        """
        head_dim = q.shape[1] // heads
        attributes = {
            "items": items or self._items(q),
            "heads": heads,
            "scale": float(head_dim**-0.5 if scale is None else scale),
            "causal": causal,
            "bfloat16": bfloat16,
        }
        inputs = [q, k, v, self._value(bias), mask]
        return self._append("full_attention", inputs, attributes, name)

    def modulate(
        self,
        x: Tensor,
        conditions: Tensor | np.ndarray,
        *,
        scale: int | None = None,
        shift: int | None = None,
        plus_one: bool = True,
        noise: np.ndarray | None = None,
        activation: str = "none",
        residual: Tensor | None = None,
        name="modulate",
    ) -> Tensor:
        """activation(x · (1 + s) + t + noise) + residual, where s and t are an item's (adaLN, arXiv
        2212.09748).

        conditions [N, any]: s are its C columns from `scale` on, t those from `shift` on; None:
        nothing to multiply or add. plus_one: false for x · s + t (a gate). noise: a number for each
        of an item's rows.
        """
        attributes = {
            "scale": -1 if scale is None else scale,
            "shift": -1 if shift is None else shift,
            "plus_one": plus_one,
            "activation": activation,
        }
        inputs = [x, self._value(conditions), residual, self._constant(noise)]
        return self._append("modulate", inputs, attributes, name)

    def add(self, x: Tensor, y: Tensor | np.ndarray, *, name="add") -> Tensor:
        """x + y; y has as many columns, and as many rows or a divisor of them: they repeat."""
        return self._append("add", [x, self._value(y)], {}, name)

    def concat_rows(self, x: Tensor, y: Tensor, *, items: int = 1, name="concat_rows") -> Tensor:
        """An item's rows of x and then those of y."""
        return self._append("concat", [x, y], {"items": items}, name)

    def columns(self, x: Tensor, first: int, count: int, *, name="columns") -> Tensor:
        """Columns [first, first + count) of x."""
        attributes = {"first_row": 0, "rows": 0, "first": first, "columns": count, "items": 1}
        return self._append("slice", [x], attributes, name)

    def rows(self, x: Tensor, first: int, count: int, *, items: int = 1, name="rows") -> Tensor:
        """Rows [first, first + count) of each item of x."""
        attributes = {
            "first_row": first,
            "rows": count,
            "first": 0,
            "columns": x.shape[1],
            "items": items,
        }
        return self._append("slice", [x], attributes, name)

    def rope_angles(self, angles: np.ndarray, *, name="rope_angles") -> Tensor:
        """The table that `rope` takes, of fixed angles [rows, R / 2]."""
        table = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        return replace(self._constant(table.astype(np.float32)), name=name)

    # --- recording ----------------------------------------------------------------------------

    def _input(self, name: str, rows: int, cols: int, grid) -> Tensor:
        value = self.program.input(name, rows, cols)
        self.inputs[name] = Tensor(value, name, (rows, cols), grid)
        return self.inputs[name]

    def _value(self, x: Tensor | np.ndarray | None) -> Tensor | None:
        return x if x is None or isinstance(x, Tensor) else self._constant(x)

    @staticmethod
    def _grid(x: Tensor) -> tuple[int, int, int]:
        if x.grid is None:
            raise ValueError(f"{x.name} {list(x.shape)} is no image: it has no height and width")
        return x.grid

    @staticmethod
    def _items(x: Tensor) -> int:
        return x.grid[0] if x.grid else 1


def _places(side: int, kernel: int, stride: int) -> int:
    """How many places a kernel has on a side; a stride of 0 the program refuses."""
    return (side - kernel) // max(stride, 1) + 1


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
