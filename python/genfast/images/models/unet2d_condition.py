"""UNet2DConditionModel: the denoiser of Stable Diffusion 1.x, 2.x and XL.

Rombach et al., 2022 (arXiv 2112.10752); Podell et al., 2023 (arXiv 2307.01952). Upstream:
diffusers' models/unets/unet_2d_condition.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._network import Network, per_item, timestep_embedding
from genfast.images.models.unet2d import activation_of, block_types, time_embedding
from genfast.images.weights import ImageWeights

_DOWN = ("DownBlock2D", "CrossAttnDownBlock2D")
_UP = ("UpBlock2D", "CrossAttnUpBlock2D")

# What else diffusers knows, and this does not: field -> the values that there are here.
_ONLY: dict[str, tuple] = {
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "mid_block_scale_factor": (1,),
    "only_cross_attention": (False,),
    "mid_block_only_cross_attention": (None, False),
    "encoder_hid_dim_type": (None,),
    "dual_cross_attention": (False,),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None, "text_time"),
    "resnet_skip_time_act": (False,),
    "resnet_out_scale_factor": (1.0,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "attention_type": ("default",),
    "cross_attention_norm": (None,),
    "reverse_transformer_layers_per_block": (None,),
}


@dataclass(frozen=True)
class Config:
    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    down: tuple[str, ...]
    up: tuple[str, ...]
    layers: int
    heads: tuple[int, ...]  # of attention, by resolution
    transformer_layers: tuple[int, ...]
    context_dim: int
    linear: bool
    groups: int
    eps: float
    activation: str
    scale_shift: bool
    padding: int
    flip_sin_to_cos: bool
    freq_shift: int
    centre: bool
    time_ids_dim: int | None  # XL: sines and cosines of each of its time_ids
    added_dim: int | None  # XL: of the pooled text and all of these together
    guidance_dim: int | None  # LCM: of the guidance's embedding

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        channels = tuple(cfg.ints("block_out_channels", 1, 1 << 14))
        for name, expected in _ONLY.items():
            if cfg.values.get(name, expected[0]) not in expected:
                cfg.fail(name, f"one of {', '.join(map(str, expected))}")
        groups = cfg.int("norm_num_groups", 1, 1 << 14, default=32)
        # The field that names a head's size holds the number of heads, for good.
        key = "num_attention_heads" if "num_attention_heads" in cfg else "attention_head_dim"
        heads = _by_block(cfg, key, len(channels), 8)
        for size, count in zip(channels, heads, strict=True):
            if size % groups or size % count:
                cfg.fail("block_out_channels", f"multiples of {groups} groups and {heads} heads")
        text_time = cfg.str("addition_embed_type", default=None) == "text_time"
        high = 1 << 20
        return cls(
            in_channels=cfg.int("in_channels", 1, 1 << 12, default=4),
            out_channels=cfg.int("out_channels", 1, 1 << 12, default=4),
            channels=channels,
            down=block_types(cfg, "down_block_types", _DOWN, len(channels)),
            up=block_types(cfg, "up_block_types", _UP, len(channels)),
            layers=cfg.int("layers_per_block", 1, 64, default=2),
            heads=heads,
            transformer_layers=_by_block(cfg, "transformer_layers_per_block", len(channels), 1),
            context_dim=cfg.int("cross_attention_dim", 1, 1 << 16, default=1280),
            linear=cfg.bool("use_linear_projection", default=False),
            groups=groups,
            eps=cfg.number("norm_eps", 0, 1, default=1e-5),
            activation=activation_of(cfg),
            scale_shift=cfg.str_choice(
                "resnet_time_scale_shift", ("default", "scale_shift"), default="default"
            )
            == "scale_shift",
            padding=cfg.int("downsample_padding", 0, 1, default=1),
            flip_sin_to_cos=cfg.bool("flip_sin_to_cos", default=True),
            freq_shift=cfg.int("freq_shift", 0, 1, default=0),
            centre=cfg.bool("center_input_sample", default=False),
            time_ids_dim=cfg.int("addition_time_embed_dim", 1, high) if text_time else None,
            added_dim=cfg.int("projection_class_embeddings_input_dim", 1, high)
            if text_time
            else None,
            guidance_dim=cfg.int("time_cond_proj_dim", 1, high, default=None),
        )


def _by_block(cfg: Fields, name: str, count: int, default: int) -> tuple[int, ...]:
    """A number for each resolution, of one for all or a list."""
    if isinstance(cfg.values.get(name), list):
        numbers = tuple(cfg.ints(name, 1, 1 << 12))
        if len(numbers) != count:
            cfg.fail(name, f"{count} numbers: one for each of block_out_channels")
        return numbers
    return (cfg.int(name, 1, 1 << 12, default=default),) * count


def record(
    g: ImageGraph,
    cfg: Config,
    w: ImageWeights,
    count: int,
    height: int,
    width: int,
    tokens: int,
) -> None:
    """sample [N, C, H, W], time [N, channels[0]], context [N · tokens, E] (and added [N, any],
    guidance [N, any]) → eps."""
    b = Blocks(g, w, cfg.groups, cfg.eps, cfg.activation, cfg.scale_shift)
    size = 4 * cfg.channels[0]
    x = g.image("sample", count, cfg.in_channels, height, width)
    context = g.input("context", count * tokens, cfg.context_dim)
    time = g.input("time", count, cfg.channels[0])
    if cfg.guidance_dim is not None:
        guidance = g.input("guidance", count, cfg.guidance_dim)
        projected = "time_embedding.cond_proj"
        time = b.linear(projected, guidance, cfg.channels[0], bias=False, residual=time)
    embedding = time_embedding(b, time, size, activate=cfg.added_dim is None)
    if cfg.added_dim is not None:
        h = g.input("added", count, cfg.added_dim)
        h = b.linear("add_embedding.linear_1", h, size, activation="silu")
        embedding = b.linear("add_embedding.linear_2", h, size, residual=embedding)
        embedding = g.activation(embedding, cfg.activation)

    def attend(name: str, x, i: int):
        return b.transformer(
            name,
            x,
            context,
            heads=cfg.heads[i],
            layers=cfg.transformer_layers[i],
            linear=cfg.linear,
        )

    x = b.conv("conv_in", x, cfg.channels[0], quantised=False)
    skips, last = [x], len(cfg.channels) - 1
    for i, (kind, outputs) in enumerate(zip(cfg.down, cfg.channels, strict=True)):
        name = f"down_blocks.{i}"
        for layer in range(cfg.layers):
            x = b.resnet(f"{name}.resnets.{layer}", x, outputs, embedding)
            if kind == "CrossAttnDownBlock2D":
                x = attend(f"{name}.attentions.{layer}", x, i)
            skips.append(x)
        if i < last:
            x = b.downsample(name, x, cfg.padding)
            skips.append(x)

    x = b.resnet("mid_block.resnets.0", x, cfg.channels[-1], embedding)
    x = attend("mid_block.attentions.0", x, last)
    x = b.resnet("mid_block.resnets.1", x, cfg.channels[-1], embedding)

    for i, (kind, outputs) in enumerate(zip(cfg.up, reversed(cfg.channels), strict=True)):
        name = f"up_blocks.{i}"
        for layer in range(cfg.layers + 1):
            x = g.concat(x, skips.pop())
            x = b.resnet(f"{name}.resnets.{layer}", x, outputs, embedding)
            if kind == "CrossAttnUpBlock2D":
                x = attend(f"{name}.attentions.{layer}", x, last - i)
        if i < last:
            x = b.upsample(name, x)

    x = b.group_norm("conv_norm_out", x, activation=cfg.activation)
    g.output("eps", b.conv("conv_out", x, cfg.out_channels, quantised=False))


class UNet2DConditionModel(Network):
    """model(sample, timestep, encoder_hidden_states) → what the model predicts of the noise."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "UNet2DConditionModel", **options)
        self.config = Config.from_json(self.fields)

    def __call__(
        self,
        sample: np.ndarray,
        timestep,
        encoder_hidden_states: np.ndarray,
        *,
        text_embeds: np.ndarray | None = None,
        time_ids: np.ndarray | None = None,
        guidance: np.ndarray | None = None,
    ) -> np.ndarray:
        """sample [N, C, H, W], timestep one number or [N], encoder_hidden_states [N, T, E] →
        [N, C', H, W].

        XL takes text_embeds [N, any], the pooled text, and time_ids [N, 6]: sizes and crops.
        guidance [N, time_cond_proj_dim]: the embedding of the guidance scale that LCM takes.
        """
        cfg = self.config
        sample = np.asarray(sample, np.float32)
        context = np.asarray(encoder_hidden_states, np.float32)
        if sample.ndim != 4 or context.ndim != 3 or len(context) != len(sample):
            raise ValueError(
                "expected a sample [N, C, H, W] and encoder_hidden_states [N, T, E], found shapes "
                f"{list(sample.shape)} and {list(context.shape)}"
            )
        count, _, height, width = sample.shape
        tokens = context.shape[1]
        runner = self._runner(
            (sample.shape, tokens), lambda g, w: record(g, cfg, w, count, height, width, tokens)
        )
        inputs = {
            "sample": 2 * sample - 1 if cfg.centre else sample,
            "context": context.reshape(count * tokens, -1),
            "time": timestep_embedding(
                per_item(timestep, count),
                cfg.channels[0],
                flip_sin_to_cos=cfg.flip_sin_to_cos,
                freq_shift=cfg.freq_shift,
            ),
        }
        if cfg.time_ids_dim is not None:
            if text_embeds is None or time_ids is None:
                raise ValueError("this model needs text_embeds and time_ids")
            ids = np.asarray(time_ids, np.float32)
            times = timestep_embedding(
                ids.reshape(-1),
                cfg.time_ids_dim,
                flip_sin_to_cos=cfg.flip_sin_to_cos,
                freq_shift=cfg.freq_shift,
            )
            parts = [np.asarray(text_embeds, np.float32), times.reshape(count, -1)]
            inputs["added"] = np.concatenate(parts, axis=1)
        if cfg.guidance_dim is not None:
            zeros = np.zeros((count, cfg.guidance_dim), np.float32)
            inputs["guidance"] = zeros if guidance is None else np.asarray(guidance, np.float32)
        return runner.run(**inputs)["eps"]
