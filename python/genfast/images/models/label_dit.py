"""A small diffusion transformer told a label: patches, adaLN without a zero start, labels 0 to L-1.

Peebles and Xie, 2022 (arXiv 2212.09748), in the layout of the MIT-licensed class-conditional MNIST
model of Franfee/DM-DiT-DDPM-MNIST-class-cond-ImageGen. Its config.json tells no sizes, so they are
those of its tensors; each head is as wide as the model, and scores are divided by √patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.checkpoint import Checkpoint
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._network import Network, per_item
from genfast.images.models._table import Table
from genfast.images.weights import ImageWeights

EPS = 1e-5
_PARTS = ("gamma1", "beta1", "alpha1", "gamma2", "beta2", "alpha2")


@dataclass(frozen=True)
class Config:
    hidden_size: int
    patch: int
    side: int  # patches
    channels: int
    patch_channels: int
    heads: int
    layers: int
    labels: int
    ffn: int

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Config:
        """LoadError for a tensor that is missing, or whose shape does not go with the others'."""
        patch_channels, channels, patch, _ = checkpoint.shape("conv.weight")
        labels, hidden = checkpoint.shape("label_emb.weight")
        patches = checkpoint.shape("patch_pos_emb")[1]
        return cls(
            hidden_size=hidden,
            patch=patch,
            side=round(patches**0.5),
            channels=channels,
            patch_channels=patch_channels,
            heads=checkpoint.shape("dits.0.wq.weight")[0] // hidden,
            layers=sum(name.endswith(".wq.weight") for name in checkpoint.names()),
            labels=labels,
            ffn=checkpoint.shape("dits.0.ff.0.weight")[0],
        )

    @property
    def size(self) -> int:
        """Pixels of a side."""
        return self.side * self.patch


def time_features(times: np.ndarray, half: np.ndarray) -> np.ndarray:
    """sin and cos of t · half: [N] → [N, E]."""
    angles = np.asarray(times, np.float32)[:, None] * half[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def record(g: ImageGraph, w: ImageWeights, cfg: Config, count: int) -> None:
    """Inputs x [N, C, S, S], time [N, E] (`time_features`), label [N, E] (rows of label_emb);
    output eps, as x."""
    hidden = cfg.hidden_size

    def linear(x: Tensor, *names: str, rows: int, **options) -> Tensor:
        weight = w.matrix(
            *(f"{n}.weight" for n in names), rows=[rows] * len(names), cols=x.shape[1]
        )
        bias = w.vector(*(f"{n}.bias" for n in names), sizes=[rows] * len(names))
        return g.matmul(x, weight, bias, **{"name": names[0].rpartition(".")[2], **options})

    def norm(x: Tensor, name: str) -> Tensor:
        weight, bias = (w.vector(f"{name}.{part}", sizes=[hidden]) for part in ("weight", "bias"))
        return g.layer_norm(x, weight, bias, EPS, name=name.rpartition(".")[2])

    x = g.image("x", count, cfg.channels, cfg.size, cfg.size)
    time, label = g.input("time", count, hidden), g.input("label", count, hidden)
    time = linear(time, "time_emb.1", rows=hidden, activation="relu")
    condition = linear(time, "time_emb.3", rows=hidden, residual=label, name="condition")
    kernel = w.conv("conv.weight", cfg.patch_channels, cfg.channels, cfg.patch)
    bias = w.vector("conv.bias", sizes=[cfg.patch_channels])
    x = g.conv2d(x, kernel, bias, kernel=cfg.patch, stride=cfg.patch, padding=0)
    x = linear(x, "patch_emb", rows=hidden)
    positions = w.array("patch_pos_emb", 1, cfg.side**2, hidden)
    x = g.add(x, positions.reshape(-1, hidden), name="positions")
    for i in range(cfg.layers):
        p = f"dits.{i}"
        with g.scope(f"layers.{i}"):
            c = linear(condition, *(f"{p}.{part}" for part in _PARTS), rows=hidden, name="adaln")
            h = g.modulate(norm(x, f"{p}.ln1"), c, scale=0, shift=hidden)
            q, k, v = (
                linear(h, f"{p}.{part}", rows=cfg.heads * hidden) for part in ("wq", "wk", "wv")
            )
            h = g.full_attention(q, k, v, heads=cfg.heads, items=count, scale=1 / cfg.side)
            h = linear(h, f"{p}.lv", rows=hidden)
            x = g.modulate(h, c, scale=2 * hidden, plus_one=False, residual=x, name="gate")
            h = g.modulate(norm(x, f"{p}.ln2"), c, scale=3 * hidden, shift=4 * hidden)
            h = linear(h, f"{p}.ff.0", rows=cfg.ffn, activation="relu", name="mlp_up")
            h = linear(h, f"{p}.ff.2", rows=hidden, name="mlp_out")
            x = g.modulate(h, c, scale=5 * hidden, plus_one=False, residual=x, name="gate")
    x = linear(norm(x, "ln"), "linear", rows=cfg.channels * cfg.patch**2)
    g.output("eps", g.pixel_shuffle(x, cfg.patch, channels_last=True))


class LabelDiT(Network):
    """model(sample, timestep, labels) → what the model predicts of the noise."""

    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, "LabelDiT", **options)
        checkpoint = self._weights.checkpoint
        self.config = Config.from_checkpoint(checkpoint)
        self._labels = Table(
            checkpoint, "label_emb.weight", self.config.labels, self.config.hidden_size
        )
        self._half = self._weights.vector(
            "time_emb.0.half_emb", sizes=[self.config.hidden_size // 2]
        )

    def __call__(self, sample: np.ndarray, timestep, labels) -> np.ndarray:
        """sample [N, C, S, S], timestep: one for all or [N], labels [N] → as sample."""
        count = len(sample)
        runner = self._runner(count, lambda g, w: record(g, w, self.config, count))
        time = time_features(per_item(timestep, count), self._half)
        return runner.run(x=sample, time=time, label=self._labels(labels))["eps"]
