"""UNet2DModel: the denoiser of DDPM. Ho et al., 2020 (arXiv 2006.11239).

Upstream: diffusers' models/unets/unet_2d.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._network import Network, per_item, timestep_embedding
from genfast.images.weights import ImageWeights

_DOWN = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
_UP = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")


@dataclass(frozen=True)
class Config:
    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    down: tuple[str, ...]
    up: tuple[str, ...]
    layers: int
    head_dim: int | None  # of attention; None: one head
    groups: int
    eps: float
    activation: str
    scale_shift: bool
    add_attention: bool
    mid_groups: int | None
    padding: int
    flip_sin_to_cos: bool
    freq_shift: int
    classes: int | None
    centre: bool
    time: str  # how the timestep comes in
    learned_timesteps: int | None
    resnets_down: bool  # whether blocks with attention halve and double images by resnets
    resnets_up: bool

    @property
    def time_size(self) -> int:
        return self.channels[0] * (2 if self.time == "fourier" else 1)

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        channels = tuple(cfg.ints("block_out_channels", 1, 1 << 14))
        for name, expected in _ONLY.items():
            if cfg.values.get(name, expected[0]) not in expected:
                cfg.fail(name, f"one of {', '.join(map(str, expected))}")
        groups = cfg.int("norm_num_groups", 1, 1 << 14, default=32)
        for size in channels:
            if size % groups:
                cfg.fail("block_out_channels", f"multiples of norm_num_groups = {groups}")
        return cls(
            in_channels=cfg.int("in_channels", 1, 1 << 12, default=3),
            out_channels=cfg.int("out_channels", 1, 1 << 12, default=3),
            channels=channels,
            down=block_types(cfg, "down_block_types", _DOWN, len(channels)),
            up=block_types(cfg, "up_block_types", _UP, len(channels)),
            layers=cfg.int("layers_per_block", 1, 64, default=2),
            head_dim=cfg.int("attention_head_dim", 1, 1 << 14, default=None)
            if "attention_head_dim" in cfg.values
            else 8,
            groups=groups,
            eps=cfg.number("norm_eps", 0, 1, default=1e-5),
            activation=activation_of(cfg),
            scale_shift=cfg.str_choice(
                "resnet_time_scale_shift", ("default", "scale_shift"), default="default"
            )
            == "scale_shift",
            add_attention=cfg.bool("add_attention", default=True),
            mid_groups=cfg.int("attn_norm_num_groups", 1, 1 << 14, default=None),
            padding=cfg.int("downsample_padding", 0, 1, default=1),
            flip_sin_to_cos=cfg.bool("flip_sin_to_cos", default=True),
            freq_shift=cfg.int("freq_shift", 0, 1, default=0),
            classes=cfg.int("num_class_embeds", 1, 1 << 20, default=None),
            centre=cfg.bool("center_input_sample", default=False),
            time=(time := cfg.str_choice("time_embedding_type", _TIMES, default="positional")),
            learned_timesteps=cfg.int("num_train_timesteps", 1, 1 << 20)
            if time == "learned"
            else None,
            resnets_down=cfg.str_choice("downsample_type", _RESIZERS, default="conv") == "resnet",
            resnets_up=cfg.str_choice("upsample_type", _RESIZERS, default="conv") == "resnet",
        )


_TIMES = ("positional", "fourier", "learned")
_RESIZERS = ("conv", "resnet")
# What else diffusers knows, and this does not: field -> the values that there are here.
_ONLY: dict[str, tuple] = {
    "time_embedding_dim": (None,),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "class_embed_type": (None,),
}


def block_types(cfg: Fields, name: str, known: tuple[str, ...], count: int) -> tuple[str, ...]:
    """A block type for each resolution, of those that are known here."""
    types = cfg.values.get(name)
    if not isinstance(types, list) or len(types) != count or not set(types) <= set(known):
        cfg.fail(name, f"{count} of {', '.join(known)}: one for each of block_out_channels")
    return tuple(types)


def activation_of(cfg: Fields) -> str:
    names = {"silu": "silu", "swish": "silu", "relu": "relu", "gelu": "gelu"}
    return names[cfg.str_choice("act_fn", names, default="silu")]


def time_embedding(blocks: Blocks, x: Tensor, size: int, *, activate: bool = True) -> Tensor:
    """The MLP over a timestep's sines and cosines [N, C] → [N, size]; activate: as resnets ask."""
    h = blocks.linear("time_embedding.linear_1", x, size, activation="silu")
    activation = blocks.activation if activate else "none"
    return blocks.linear("time_embedding.linear_2", h, size, activation=activation)


def record(
    g: ImageGraph, cfg: Config, w: ImageWeights, count: int, height: int, width: int
) -> None:
    """sample [N, C, H, W], time [N, time_size] (and class [N, 4 · channels[0]]) → eps."""
    b = Blocks(g, w, cfg.groups, cfg.eps, cfg.activation, cfg.scale_shift)
    size = 4 * cfg.channels[0]
    x = g.image("sample", count, cfg.in_channels, height, width)
    embedding = time_embedding(
        b, g.input("time", count, cfg.time_size), size, activate=cfg.classes is None
    )
    if cfg.classes is not None:
        embedding = g.add(embedding, g.input("class", count, size))
        embedding = g.activation(embedding, cfg.activation)

    def attend(name: str, x: Tensor) -> Tensor:
        heads = x.shape[1] // (cfg.head_dim or x.shape[1])
        return b.attention(name, x, heads)

    x = b.conv("conv_in", x, cfg.channels[0], quantised=False)
    skips, last = [x], len(cfg.channels) - 1
    for i, (kind, outputs) in enumerate(zip(cfg.down, cfg.channels, strict=True)):
        name = f"down_blocks.{i}"
        for layer in range(cfg.layers):
            x = b.resnet(f"{name}.resnets.{layer}", x, outputs, embedding)
            if kind == "AttnDownBlock2D":
                x = attend(f"{name}.attentions.{layer}", x)
            skips.append(x)
        if i < last:
            if kind.startswith("Resnet") or (kind.startswith("Attn") and cfg.resnets_down):
                part = f"{name}.downsamplers.0"
                x = b.resnet(part, x, outputs, embedding, resized=b.halved)
            else:
                x = b.downsample(name, x, cfg.padding)
            skips.append(x)

    x = b.resnet("mid_block.resnets.0", x, cfg.channels[-1], embedding)
    if cfg.add_attention:
        x = attend("mid_block.attentions.0", x)
    x = b.resnet("mid_block.resnets.1", x, cfg.channels[-1], embedding)

    for i, (kind, outputs) in enumerate(zip(cfg.up, reversed(cfg.channels), strict=True)):
        name = f"up_blocks.{i}"
        for layer in range(cfg.layers + 1):
            x = g.concat(x, skips.pop())
            x = b.resnet(f"{name}.resnets.{layer}", x, outputs, embedding)
            if kind == "AttnUpBlock2D":
                x = attend(f"{name}.attentions.{layer}", x)
        if i < last:
            if kind.startswith("Resnet") or (kind.startswith("Attn") and cfg.resnets_up):
                x = b.resnet(f"{name}.upsamplers.0", x, outputs, embedding, resized=g.upsample)
            else:
                x = b.upsample(name, x)

    x = b.group_norm("conv_norm_out", x, activation="silu")
    g.output("eps", b.conv("conv_out", x, cfg.out_channels, quantised=False))


class UNet2DModel(Network):
    """model(sample, timestep) → what the model predicts of the noise."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "UNet2DModel", **options)
        self.config = Config.from_json(self.fields)
        cfg = self.config
        if cfg.scale_shift and cfg.mid_groups is None and cfg.add_attention:
            self.fields.fail(
                "attn_norm_num_groups", "norm_num_groups: the middle's attention norms"
            )
        if cfg.mid_groups not in (None, cfg.groups):
            self.fields.fail("attn_norm_num_groups", f"norm_num_groups = {cfg.groups}")

    def __call__(self, sample: np.ndarray, timestep, class_labels=None) -> np.ndarray:
        """sample [N, C, H, W], timestep one number or [N], class_labels [N] → [N, C', H, W]."""
        cfg = self.config
        sample = np.asarray(sample, np.float32)
        count, _, height, width = sample.shape
        runner = self._runner(sample.shape, lambda g, w: record(g, cfg, w, count, height, width))
        inputs = {"sample": 2 * sample - 1 if cfg.centre else sample}
        times = per_item(timestep, count)
        inputs["time"] = self._embedded(times)
        if (class_labels is None) != (cfg.classes is None):
            raise ValueError(
                f"class_labels={class_labels}, but the model has {cfg.classes} classes"
            )
        if cfg.classes is not None:
            size = 4 * cfg.channels[0]
            table = self._weights.array("class_embedding.weight", cfg.classes, size)
            inputs["class"] = table[np.asarray(class_labels).reshape(-1)]
        eps = runner.run(**inputs)["eps"]
        return eps / times[:, None, None, None] if cfg.time == "fourier" else eps

    def _embedded(self, times: np.ndarray) -> np.ndarray:
        """Timesteps [N], or noise levels (fourier), as the network takes them: [N, time_size].
        Fourier: Song et al., 2020 (arXiv 2011.13456)."""
        cfg, size = self.config, self.config.channels[0]
        if cfg.time == "positional":
            order = {"flip_sin_to_cos": cfg.flip_sin_to_cos, "freq_shift": cfg.freq_shift}
            return timestep_embedding(times, size, **order)
        if cfg.time == "learned":
            table = self._weights.array("time_proj.weight", cfg.learned_timesteps, size)
            last = len(table) - 1
            if not ((times >= 0) & (times <= last)).all():
                raise ValueError(f"timesteps {times.tolist()} do not all lie in 0 to {last}")
            return table[times.astype(np.int64)]
        if not (times > 0).all():
            raise ValueError(f"noise levels {times.tolist()} are not all above 0")
        frequencies = self._weights.vector("time_proj.weight", sizes=[size])
        angles = np.log(times)[:, None] * frequencies * np.float32(2 * np.pi)
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
