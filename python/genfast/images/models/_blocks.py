"""The blocks that UNets and autoencoders are made of. Upstream: diffusers' models/resnet.py,
unet_2d_blocks.py, attention_processor.py and transformer_2d.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.weights import ImageWeights


@dataclass(frozen=True)
class Blocks:
    """A recorder, its weights, and what all blocks of a network agree on."""

    g: ImageGraph
    w: ImageWeights
    groups: int
    eps: float
    activation: str = "silu"
    scale_shift: bool = False  # how a resnet takes the embedding of the timestep
    shortcut: str = "conv_shortcut"  # of a resnet that changes the number of channels

    @property
    def bfloat16(self) -> bool:
        """Attention multiplies as exactly as the weights are."""
        return self.w.dtype == "bfloat16" or self.w.quantize is not None

    # --- layers -------------------------------------------------------------------------------

    def conv(self, name: str, x: Tensor, outputs: int, kernel: int = 3, **options) -> Tensor:
        inputs, tensor = x.shape[1], f"{name}.weight"
        quantised = options.pop("quantised", True)
        bias = self.w.vector(f"{name}.bias", sizes=[outputs])
        plain = kernel == 3 and quantised and not {"stride", "padding"} & options.keys()
        if self.w.winograd and plain and inputs % 16 == outputs % 16 == 0:
            weight = self.w.winograd_conv(tensor, outputs, inputs)
            return self.g.winograd_conv2d(x, weight, outputs, bias, name=name, **options)
        weight = self.w.conv(tensor, outputs, inputs, kernel, quantised=quantised)
        options.setdefault("padding", kernel // 2)
        return self.g.conv2d(x, weight, bias, kernel=kernel, name=name, **options)

    def linear(self, name: str, x: Tensor, outputs: int, *, bias: bool = True, **options) -> Tensor:
        weight = self.w.matrix(f"{name}.weight", rows=[outputs], cols=x.shape[1])
        bias = self.w.vector(f"{name}.bias", sizes=[outputs]) if bias else None
        return self.g.matmul(x, weight, bias, name=name, **options)

    def group_norm(self, name: str, x: Tensor, eps: float | None = None, **options) -> Tensor:
        weight = self.w.vector(f"{name}.weight", sizes=[x.shape[1]])
        bias = self.w.vector(f"{name}.bias", sizes=[x.shape[1]])
        eps = self.eps if eps is None else eps
        return self.g.group_norm(x, weight, bias, self.groups, eps, name=name, **options)

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        weight = self.w.vector(f"{name}.weight", sizes=[x.shape[1]])
        bias = self.w.vector(f"{name}.bias", sizes=[x.shape[1]])
        return self.g.layer_norm(x, weight, bias, 1e-5, name=name)

    # --- blocks -------------------------------------------------------------------------------

    def resnet(
        self,
        name: str,
        x: Tensor,
        outputs: int,
        embedding: Tensor | None,
        *,
        resized: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """x + conv(norm(conv(norm(x)) + embedding)); embedding [N, any], activated already.
        resized: of another size, before the first convolution."""
        h = self.group_norm(f"{name}.norm1", x, activation=self.activation)
        if resized is not None:
            x, h = resized(x), resized(h)
        h = self.conv(f"{name}.conv1", h, outputs)
        if embedding is None:
            h = self.group_norm(f"{name}.norm2", h, activation=self.activation)
        elif self.scale_shift:
            conditions = self.linear(f"{name}.time_emb_proj", embedding, 2 * outputs)
            h = self.group_norm(f"{name}.norm2", h)
            h = self.g.modulate(h, conditions, scale=0, shift=outputs)
            h = self.g.activation(h, self.activation)
        else:
            shift = self.linear(f"{name}.time_emb_proj", embedding, outputs)
            h = self.group_norm(f"{name}.norm2", h, shift=shift, activation=self.activation)
        if x.shape[1] != outputs:
            x = self.conv(f"{name}.{self.shortcut}", x, outputs, 1)
        return self.conv(f"{name}.conv2", h, outputs, residual=x)

    def halved(self, x: Tensor) -> Tensor:
        """The mean of each 2 × 2 pixels."""
        return self.g.depthwise_conv2d(x, np.full((2, 2), 0.25), stride=2, padding=0, name="halved")

    def downsample(self, name: str, x: Tensor, padding: int) -> Tensor:
        sides = (0, 0, 1, 1) if padding == 0 else padding
        return self.conv(f"{name}.downsamplers.0.conv", x, x.shape[1], stride=2, padding=sides)

    def upsample(self, name: str, x: Tensor) -> Tensor:
        return self.conv(f"{name}.upsamplers.0.conv", self.g.upsample(x), x.shape[1])

    def attention(self, name: str, x: Tensor, heads: int) -> Tensor:
        """x + attention over the pixels of the normed image."""
        names = ("to_q", "to_k", "to_v", "to_out.0")
        if f"{name}.query.weight" in self.w:  # as old checkpoints spell them
            names = ("query", "key", "value", "proj_attn")
        channels = x.shape[1]
        h = self.group_norm(f"{name}.group_norm", x)
        q, k, v = (self.linear(f"{name}.{part}", h, channels) for part in names[:3])
        h = self.g.full_attention(q, k, v, heads=heads, bfloat16=self.bfloat16, name=name)
        return self.linear(f"{name}.{names[3]}", h, channels, residual=x)

    def transformer(
        self, name: str, x: Tensor, context: Tensor, *, heads: int, layers: int, linear: bool
    ) -> Tensor:
        """x + a transformer over its pixels that also attends to `context` [N · T, E].

        linear: whether the projections in and out are stored as matrices or 1 × 1 convolutions.
        """
        project = self.linear if linear else self._pointwise
        channels = x.shape[1]
        h = self.group_norm(f"{name}.norm", x, eps=1e-6)
        h = project(f"{name}.proj_in", h, channels)
        for layer in range(layers):
            h = self._transformer_block(f"{name}.transformer_blocks.{layer}", h, context, heads)
        return project(f"{name}.proj_out", h, channels, residual=x)

    def _pointwise(self, name: str, x: Tensor, outputs: int, **options) -> Tensor:
        return self.conv(name, x, outputs, 1, **options)

    def _transformer_block(self, name: str, x: Tensor, context: Tensor, heads: int) -> Tensor:
        h = self.layer_norm(f"{name}.norm1", x)
        x = self._attend(f"{name}.attn1", x, h, h, heads)
        h = self.layer_norm(f"{name}.norm2", x)
        x = self._attend(f"{name}.attn2", x, h, context, heads)
        h = self.layer_norm(f"{name}.norm3", x)
        channels = x.shape[1]
        hidden = 4 * channels
        # GEGLU: stored as what is gated, then the gate.
        order = [range(hidden, 2 * hidden), range(hidden)]
        weight = self.w.matrix(
            f"{name}.ff.net.0.proj.weight",
            rows=[2 * hidden],
            cols=channels,
            gated=True,
            order=order,
        )
        bias = self.w.vector(f"{name}.ff.net.0.proj.bias", sizes=[2 * hidden], order=order)
        h = self.g.matmul(h, weight, bias, activation="gelu", name=f"{name}.ff.net.0")
        return self.linear(f"{name}.ff.net.2", h, channels, residual=x)

    def _attend(self, name: str, x: Tensor, h: Tensor, context: Tensor, heads: int) -> Tensor:
        channels = h.shape[1]
        q = self.linear(f"{name}.to_q", h, channels, bias=False)
        k = self.linear(f"{name}.to_k", context, channels, bias=False)
        v = self.linear(f"{name}.to_v", context, channels, bias=False)
        h = self.g.full_attention(q, k, v, heads=heads, bfloat16=self.bfloat16, name=name)
        return self.linear(f"{name}.to_out.0", h, channels, residual=x)
