"""ImageGPT: GPT-2 with root mean square norms, over the codes of an image's pixels.

Chen et al., 2020 (Generative Pretraining from Pixels); upstream: modeling_imagegpt.py.
The last id begins an image and is no code: the head has no row for it. Its logit here is -1e30.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import gpt2
from genfast.weights import Weights

_NEVER = np.float32(-1e30)


@dataclass(frozen=True)
class Config(gpt2.Config):
    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            vocab_size=513,
            n_positions=1024,
            n_embd=512,
            n_layer=24,
            n_head=8,
            activation_function="quick_gelu",
            tie_word_embeddings=False,
        )
        config = super().from_json(cfg)
        if config.tied:
            cfg.fail("tie_word_embeddings", "false: the head has a row less than the embedding")
        if config.vocab_size < 2:
            cfg.fail("vocab_size", "2 or more: a code and the token that begins an image")
        return config


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    x, _ = gpt2.layers(g, cfg, w, _rms_norm)
    w.prefix = ""  # lm_head stands beside the model, not inside it
    codes = cfg.vocab_size - 1
    again = [range(codes), range(1)]  # some row stands for the one that is missing
    head = w.matrix(
        "lm_head.weight", rows=[codes], cols=cfg.hidden_size, gives_logits=True, order=again
    )
    bias = np.zeros(cfg.vocab_size, np.float32)
    bias[codes] = _NEVER
    return g.matmul(x, head, bias, name="logits")


def _rms_norm(g: Graph, cfg: Config, w: Weights, x: Tensor, prefix: str, name: str) -> Tensor:
    weight = w.vector(f"{prefix}.weight", sizes=[cfg.hidden_size])
    return g.rms_norm(x, weight, cfg.eps, name=name)
