"""CLIP's text encoder, of OpenAI's size or OpenCLIP's, with a projection or without.

Radford et al., 2021 (arXiv 2103.00020). Upstream: transformers' modeling_clip.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from genfast.config import Fields
from genfast.graph import Tensor
from genfast.images.graph import ImageGraph
from genfast.images.models._blocks import Blocks
from genfast.images.models._network import Network
from genfast.images.models._table import Table
from genfast.images.weights import ImageWeights

ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_new": "gelu_tanh"}
_OLD_EOS = 2  # configs that say so mean the highest id of a text


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    context: int
    activation: str
    eps: float
    eos: int
    projection: int

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        hidden = cfg.int("hidden_size", 1, 1 << 16, default=512)
        heads = cfg.int("num_attention_heads", 1, 1 << 12, default=8)
        if hidden % heads:
            cfg.fail("hidden_size", f"a multiple of num_attention_heads = {heads}")
        vocab = cfg.int("vocab_size", 1, 1 << 22, default=49408)
        return cls(
            vocab_size=vocab,
            hidden_size=hidden,
            intermediate_size=cfg.int("intermediate_size", 1, 1 << 18, default=2048),
            layers=cfg.int("num_hidden_layers", 1, 1 << 10, default=12),
            heads=heads,
            context=cfg.int("max_position_embeddings", 1, 1 << 16, default=77),
            activation=ACTIVATIONS[cfg.str_choice("hidden_act", ACTIVATIONS, default="quick_gelu")],
            eps=cfg.number("layer_norm_eps", 0, 1, default=1e-5),
            eos=cfg.int("eos_token_id", 0, vocab, default=49407),
            projection=cfg.int("projection_dim", 1, 1 << 16, default=512),
        )


@dataclass(frozen=True)
class Encoding:
    """last: after the final norm, [N, T, E]; before_last: what the last layer was given, likewise;
    pooled: `last` at each text's end, projected where there is a projection, [N, E or P]."""

    last: np.ndarray
    before_last: np.ndarray
    pooled: np.ndarray


def record(g: ImageGraph, w: ImageWeights, cfg: Config, count: int, length: int) -> None:
    """Input embeddings [N · T, E]; outputs last and before_last, as that."""
    w.use_prefix("text_model.", "final_layer_norm.weight")
    b = Blocks(g, w, 1, cfg.eps)
    x = g.input("embeddings", count * length, cfg.hidden_size)
    for i in range(cfg.layers):
        if i == cfg.layers - 1:
            g.output("before_last", x)
        x = _layer(b, cfg, f"encoder.layers.{i}", x, count)
    g.output("last", b.layer_norm("final_layer_norm", x))


def _layer(b: Blocks, cfg: Config, name: str, x: Tensor, count: int) -> Tensor:
    h = b.layer_norm(f"{name}.layer_norm1", x)
    q, k, v = (b.linear(f"{name}.self_attn.{part}_proj", h, cfg.hidden_size) for part in "qkv")
    h = b.g.full_attention(
        q, k, v, heads=cfg.heads, items=count, causal=True, bfloat16=b.bfloat16, name=name
    )
    x = b.linear(f"{name}.self_attn.out_proj", h, cfg.hidden_size, residual=x)
    h = b.layer_norm(f"{name}.layer_norm2", x)
    h = b.linear(f"{name}.mlp.fc1", h, cfg.intermediate_size, activation=cfg.activation)
    return b.linear(f"{name}.mlp.fc2", h, cfg.hidden_size, residual=x)


class CLIPTextModel(Network):
    """model(ids) → `Encoding`."""

    def __init__(self, directory: Path | str, *, projected: bool = False, **options) -> None:
        super().__init__(directory, "CLIPTextModel", **options)
        self.config = cfg = Config.from_json(self.fields)
        weights = self._weights
        self._projection = None
        if projected:  # before the prefix of the rest is set
            sizes = {"rows": [cfg.projection], "cols": cfg.hidden_size}
            self._projection = weights.matrix("text_projection.weight", **sizes)
        weights.use_prefix("text_model.", "final_layer_norm.weight")
        name = f"{weights.prefix}embeddings.token_embedding.weight"
        self._tokens = Table(weights.checkpoint, name, cfg.vocab_size, cfg.hidden_size)
        shape = (cfg.context, cfg.hidden_size)
        self._positions = weights.array("embeddings.position_embedding.weight", *shape)

    def __call__(self, ids: np.ndarray) -> Encoding:
        """ids [N, T], padded after their end token; causal, so what follows it changes nothing
        before."""
        ids = np.asarray(ids)
        count, length = ids.shape
        cfg = self.config
        if length > cfg.context:
            raise ValueError(f"{length} tokens exceed the encoder's {cfg.context}")
        runner = self._runner((count, length), lambda g, w: record(g, w, cfg, count, length))
        embeddings = self._tokens(ids) + self._positions[:length]
        found = runner.run(embeddings=embeddings.reshape(-1, cfg.hidden_size))
        shape = (count, length, cfg.hidden_size)
        last, before = (found[name].reshape(shape) for name in ("last", "before_last"))
        ends = ids.argmax(1) if cfg.eos == _OLD_EOS else (ids == cfg.eos).argmax(1)
        pooled = last[np.arange(count), ends]
        if self._projection is not None:
            pooled = self._runner(count, lambda g, w: self._project(g, count)).run(pooled=pooled)[
                "projected"
            ]
        return Encoding(last, before, pooled)

    def _project(self, g: ImageGraph, count: int) -> None:
        pooled = g.input("pooled", count, self.config.hidden_size)
        g.output("projected", g.matmul(pooled, self._projection, name="text_projection"))


class CLIPTextModelWithProjection(CLIPTextModel):
    def __init__(self, directory: Path | str, **options) -> None:
        super().__init__(directory, projected=True, **options)
