"""Janus and Janus-Pro: Llama over ids of text and, after them, codes of an image; a head for each.

Wu et al., 2024 (arXiv 2410.13848), Chen et al., 2025 (arXiv 2501.17811); upstream: transformers'
modeling_janus.py. Code c is the id text_vocab + c. Upstream embeds codes by a table of their own
and an MLP that sees nothing else: here its outputs are further rows of the text's table. Codes are
suppressed unless a request says otherwise; `genfast.load` gives the pipeline that draws them
(images/pipelines/janus.py). The encoder of images that are read is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import ACTIVATIONS, Layers
from genfast.weights import Weights


@dataclass(frozen=True)
class Config(llama.Config):
    """vocab_size: of text and codes. code_dim: of a code's own embedding."""

    text_vocab: int = 0
    codes: int = 0
    code_dim: int = 0
    code_layers: int = 0  # of the MLP that makes an id's embedding of a code's
    code_activation: str = "gelu"

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        text = cfg.object("text_config").with_defaults(
            vocab_size=32000,
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
        )
        text.str_choice("model_type", ["llama"], default="llama")
        vq = vq_fields(cfg)
        base = llama.Config.from_json(text)
        for name in ("projection_dim", "image_token_embed_dim"):
            if vq.int(name, 1, 1 << 17, default=2048) != base.hidden_size:
                vq.fail(name, f"text_config's hidden_size = {base.hidden_size}")
        codes = vq.int("num_embeddings", 1, 1 << 20, default=16384)
        own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
        own |= {
            "vocab_size": base.vocab_size + codes,
            "tied": cfg.bool("tie_word_embeddings", default=True),
            "suppressed": tuple(range(base.vocab_size, base.vocab_size + codes)),
        }
        activation = vq.str_choice("hidden_act", ACTIVATIONS, default="gelu")
        return cls(
            **own,
            text_vocab=base.vocab_size,
            codes=codes,
            code_dim=vq.int("embed_dim", 1, 1 << 12, default=8),
            code_layers=vq.int("num_hidden_layers", 1, 64, default=2),
            code_activation=ACTIVATIONS[activation],
        )


def vq_fields(cfg: Fields) -> Fields:
    """Those of the autoencoder of images."""
    return cfg.object("vq_config", default=None) or Fields({}, cfg.file, "vq_config.")


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, of text and then of codes: [outputs, V]."""
    rows_of_codes = code_rows(cfg, w)
    w.prefix = "model.language_model."
    layers = Layers(g, w, cfg.eps)
    table = w.longer_embedding(
        "embed_tokens.weight", cfg.text_vocab, cfg.hidden_size, rows_of_codes
    )
    x = llama.body(layers, cfg, table)
    w.prefix = ""
    text = w.matrix(
        "model.language_model.embed_tokens.weight" if is_tied(cfg, w) else "lm_head.weight",
        rows=[cfg.text_vocab],
        cols=cfg.hidden_size,
        gives_logits=True,
    )
    head = "model.generation_head"
    h = layers.linear(
        x,
        f"{head}.proj_out",
        rows=cfg.hidden_size,
        bias=True,
        activation=cfg.code_activation,
        name="code_head",
    )
    codes = w.matrix(
        f"{head}.vision_head.weight", rows=[cfg.codes], cols=cfg.hidden_size, gives_logits=True
    )
    bias = w.vector(f"{head}.vision_head.bias", sizes=[cfg.codes])
    return g.concat(
        g.matmul(x, text, name="text_logits"),
        g.matmul(h, codes, bias, name="code_logits"),
        name="logits",
    )


def is_tied(cfg: Config, w: Weights) -> bool:
    """A checkpoint that has a head uses it, whatever its config's default says."""
    return cfg.tied and "lm_head.weight" not in w


def code_rows(cfg: Config, w: Weights):
    """What computes the embedding of every code, float32 [codes, hidden_size]."""
    from genfast import ops  # here, as it is for computing and not for recording

    names, sizes = ["fc1"], [cfg.code_dim, cfg.hidden_size]
    for i in range(cfg.code_layers - 1):
        names.append(f"hidden_layers.{i}")
        sizes.append(cfg.hidden_size)
    codes = w.array("model.generation_embeddings.weight", cfg.codes, cfg.code_dim)
    layers = []
    for name, inputs, outputs in zip(names, sizes[:-1], sizes[1:], strict=True):
        name = f"model.generation_aligner.{name}"
        matrix = w.array(f"{name}.weight", outputs, inputs)
        layers.append((matrix, w.vector(f"{name}.bias", sizes=[outputs])))

    def compute() -> np.ndarray:
        x = codes
        for i, (matrix, bias) in enumerate(layers):
            last = i == len(layers) - 1
            x = ops.matmul(x, matrix, bias, activation="none" if last else cfg.code_activation)
        return x

    return compute
