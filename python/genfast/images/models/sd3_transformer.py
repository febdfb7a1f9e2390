"""SD3Transformer2DModel: patches and a text's tokens in one attention, weights of each their own.

Esser et al., 2024 (MMDiT, arXiv 2403.03206). Upstream: diffusers' models/transformers/
transformer_sd3.py, JointTransformerBlock of models/attention.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._network import Network, per_item, timestep_embedding
from genfast.images.weights import ImageWeights

_TIME = 256  # sines and cosines of a timestep
_EPS = 1e-6


@dataclass(frozen=True)
class Config:
    in_channels: int
    out_channels: int
    hidden_size: int
    heads: int
    head_dim: int
    layers: int
    patch: int
    text_size: int
    pooled_size: int
    most_side: int  # patches
    qk_norm: bool
    dual: tuple[int, ...]  # layers whose patches also attend to patches alone

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        heads = cfg.int("num_attention_heads", 1, 1 << 10, default=18)
        head_dim = cfg.int("attention_head_dim", 1, 1 << 10, default=64)
        layers = cfg.int("num_layers", 1, 1 << 10, default=18)
        hidden = heads * head_dim
        if cfg.int("caption_projection_dim", 1, 1 << 16, default=1152) != hidden:
            cfg.fail("caption_projection_dim", f"{hidden}, as wide as all heads together")
        if cfg.values.get("qk_norm") not in (None, "rms_norm"):
            cfg.fail("qk_norm", 'null or "rms_norm"')
        dual = cfg.values.get("dual_attention_layers") or []
        if dual:
            dual = cfg.ints("dual_attention_layers", 0, layers - 1)
        channels = cfg.int("in_channels", 1, 1 << 12, default=16)
        return cls(
            in_channels=channels,
            out_channels=cfg.int("out_channels", 1, 1 << 12, default=channels),
            hidden_size=hidden,
            heads=heads,
            head_dim=head_dim,
            layers=layers,
            patch=cfg.int("patch_size", 1, 64, default=2),
            text_size=cfg.int("joint_attention_dim", 1, 1 << 16, default=4096),
            pooled_size=cfg.int("pooled_projection_dim", 1, 1 << 16, default=2048),
            most_side=cfg.int("pos_embed_max_size", 1, 1 << 12, default=96),
            qk_norm="qk_norm" in cfg,
            dual=tuple(dual),
        )


class _Recorder:
    """Records the layers of one shape: `count` samples, `patches` and `tokens` of each."""

    def __init__(
        self, g: ImageGraph, w: ImageWeights, cfg: Config, count: int, patches: int, tokens: int
    ) -> None:
        self.g, self.w, self.cfg = g, w, cfg
        self.b = Blocks(g, w, 1, _EPS)
        self.count, self.patches, self.tokens = count, patches, tokens
        self.ones = np.ones(cfg.hidden_size, np.float32)
        self.zeros = np.zeros(cfg.hidden_size, np.float32)

    def norm(self, x: Tensor) -> Tensor:
        return self.g.layer_norm(x, self.ones, self.zeros, _EPS)

    def qkv(self, name: str, x: Tensor, parts: tuple[str, str, str], norms: str) -> list[Tensor]:
        """norms: "norm_{}" or "norm_added_{}"."""
        found = [self.b.linear(f"{name}.{part}", x, self.cfg.hidden_size) for part in parts]
        if self.cfg.qk_norm:
            for i, part in enumerate("qk"):
                weight = self.w.vector(
                    f"{name}.{norms.format(part)}.weight", sizes=[self.cfg.head_dim]
                )
                tiled = np.tile(weight, self.cfg.heads)
                found[i] = self.g.rms_norm(found[i], tiled, _EPS, groups=self.cfg.heads)
        return found

    def attend(self, name: str, qkv: list[Tensor]) -> Tensor:
        return self.g.full_attention(
            *qkv,
            heads=self.cfg.heads,
            items=self.count,
            bfloat16=self.b.bfloat16,
            name=name,
        )

    def mlp(self, name: str, x: Tensor, c: Tensor, shift: int, scale: int, gate: int) -> Tensor:
        """x + gate · ff(norm(x)), modulated; shift, scale, gate: which sixth or ninth of c."""
        hidden = self.cfg.hidden_size
        h = self.g.modulate(self.norm(x), c, shift=shift * hidden, scale=scale * hidden)
        h = self.b.linear(f"{name}.net.0.proj", h, 4 * hidden, activation="gelu_tanh")
        h = self.b.linear(f"{name}.net.2", h, hidden)
        return self.gate(h, c, gate, x)

    def gate(self, h: Tensor, c: Tensor, part: int, x: Tensor) -> Tensor:
        scale = part * self.cfg.hidden_size
        return self.g.modulate(h, c, scale=scale, plus_one=False, residual=x, name="gate")

    def layer(self, i: int, x: Tensor, text: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Of the last layer the text's part goes no further, and is not computed."""
        g, b, hidden = self.g, self.b, self.cfg.hidden_size
        name = f"transformer_blocks.{i}"
        last, dual = i == self.cfg.layers - 1, i in self.cfg.dual
        c = b.linear(f"{name}.norm1.linear", told, (9 if dual else 6) * hidden)
        d = b.linear(f"{name}.norm1_context.linear", told, (2 if last else 6) * hidden)
        normed = self.norm(x)
        h = g.modulate(normed, c, shift=0, scale=hidden)
        # What ends a stream puts the scale first.
        first = {"shift": hidden, "scale": 0} if last else {"shift": 0, "scale": hidden}
        t = g.modulate(self.norm(text), d, **first)
        own = self.qkv(f"{name}.attn", h, ("to_q", "to_k", "to_v"), "norm_{}")
        parts = ("add_q_proj", "add_k_proj", "add_v_proj")
        other = self.qkv(f"{name}.attn", t, parts, "norm_added_{}")
        both = [g.concat_rows(a, e, items=self.count) for a, e in zip(own, other, strict=True)]
        h = self.attend(f"{name}.attn", both)
        mine = g.rows(h, 0, self.patches, items=self.count)
        x = self.gate(b.linear(f"{name}.attn.to_out.0", mine, hidden), c, 2, x)
        if dual:
            again = g.modulate(normed, c, shift=6 * hidden, scale=7 * hidden)
            qkv = self.qkv(f"{name}.attn2", again, ("to_q", "to_k", "to_v"), "norm_{}")
            again = self.attend(f"{name}.attn2", qkv)
            x = self.gate(b.linear(f"{name}.attn2.to_out.0", again, hidden), c, 8, x)
        x = self.mlp(f"{name}.ff", x, c, 3, 4, 5)
        if not last:
            theirs = g.rows(h, self.patches, self.tokens, items=self.count)
            text = self.gate(b.linear(f"{name}.attn.to_add_out", theirs, hidden), d, 2, text)
            text = self.mlp(f"{name}.ff_context", text, d, 3, 4, 5)
        return x, text


def record(
    g: ImageGraph, w: ImageWeights, cfg: Config, count: int, height: int, width: int, tokens: int
) -> None:
    """Inputs sample [N, C, H, W], text [N · T, E'], pooled [N, P], time [N, 256]; output velocity
    [N, C', H, W]."""
    rows, columns, hidden = height // cfg.patch, width // cfg.patch, cfg.hidden_size
    r = _Recorder(g, w, cfg, count, rows * columns, tokens)
    b = r.b
    name = "time_text_embed"
    pooled = g.input("pooled", count, cfg.pooled_size)
    h = b.linear(f"{name}.text_embedder.linear_1", pooled, hidden, activation="silu")
    pooled = b.linear(f"{name}.text_embedder.linear_2", h, hidden)
    time = g.input("time", count, _TIME)
    h = b.linear(f"{name}.timestep_embedder.linear_1", time, hidden, activation="silu")
    told = b.linear(f"{name}.timestep_embedder.linear_2", h, hidden, residual=pooled)
    told = g.activation(told, "silu")
    text = b.linear("context_embedder", g.input("text", count * tokens, cfg.text_size), hidden)
    x = g.image("sample", count, cfg.in_channels, height, width)
    x = b.conv("pos_embed.proj", x, hidden, cfg.patch, stride=cfg.patch, padding=0)
    x = g.add(x, _positions(w, cfg, rows, columns), name="positions")
    for i in range(cfg.layers):
        x, text = r.layer(i, x, text, told)
    c = b.linear("norm_out.linear", told, 2 * hidden)
    x = g.modulate(r.norm(x), c, scale=0, shift=hidden)
    x = b.linear("proj_out", x, cfg.patch**2 * cfg.out_channels)
    x = replace(x, grid=(count, rows, columns))
    g.output("velocity", g.pixel_shuffle(x, cfg.patch, channels_last=True))


def _positions(w: ImageWeights, cfg: Config, rows: int, columns: int) -> np.ndarray:
    """The middle of the stored square."""
    side = cfg.most_side
    table = w.array("pos_embed.pos_embed", 1, side * side, cfg.hidden_size)
    table = table.reshape(side, side, cfg.hidden_size)
    top, left = (side - rows) // 2, (side - columns) // 2
    middle = table[top : top + rows, left : left + columns]
    return np.ascontiguousarray(middle).reshape(rows * columns, cfg.hidden_size)


class SD3Transformer2DModel(Network):
    """model(sample, timestep, text, pooled) → the velocity from image to noise."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "SD3Transformer2DModel", **options)
        self.config = Config.from_json(self.fields)

    def __call__(
        self, sample: np.ndarray, timestep, text: np.ndarray, pooled: np.ndarray
    ) -> np.ndarray:
        """sample [N, C, H, W], timestep: one for all or [N], text [N, T, E'], pooled [N, P] →
        [N, C', H, W]. ValueError for a side that patches do not divide, or that has too many."""
        cfg = self.config
        count, _, height, width = sample.shape
        most = cfg.most_side * cfg.patch
        for name, side in (("height", height), ("width", width)):
            if side % cfg.patch or side > most:
                raise ValueError(f"{name} {side}; allowed: a multiple of {cfg.patch} to {most}")
        tokens = text.shape[1]
        runner = self._runner(
            (sample.shape, tokens),
            lambda g, w: record(g, w, cfg, count, height, width, tokens),
        )
        return runner.run(
            sample=sample,
            text=np.asarray(text, np.float32).reshape(count * tokens, -1),
            pooled=pooled,
            time=timestep_embedding(per_item(timestep, count), _TIME),
        )["velocity"]
