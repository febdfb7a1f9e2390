"""How large a model is, from its config.json alone: nothing is loaded.

The model file's own `forward` runs with weights that only note what was asked of them, so the
numbers follow every model there is a file for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genfast import models
from genfast.attention_layer import AttentionLayer
from genfast.config import Fields
from genfast.formats import KEYS_AND_VALUES, QUANTISED

PANEL_ROWS = 32  # rows of a weight that lie together; see csrc/quant/format.h
INT4_GROUP = 32  # columns that share an int4 scale
KV_UNIT = 16  # what a head's dimension is padded to in the cache; see attention/kv_layout.h
KV_GROUP = 32  # of a head's dimensions, that share a scale in an int4 cache


@dataclass(frozen=True)
class Matrix:
    """A weight matrix [rows, cols]; table: only looked up; logits: int8 where quantised;
    gated: gate and up, half a panel each; plain: never quantised.
    """

    rows: int
    cols: int
    table: bool = False
    logits: bool = False
    gated: bool = False
    plain: bool = False

    def nbytes(self, fmt: str) -> int:
        """Bytes when loaded in `fmt`, padding and scales included."""
        if fmt in QUANTISED and self.logits:
            fmt = "int8"
        if self.plain and fmt in QUANTISED:
            fmt = "bfloat16"
        if self.table:  # read from the file as it is; shown as the unquantised type
            return self.rows * self.cols * (4 if fmt == "float32" else 2)
        parts = 2 if self.gated else 1
        panels = -(-(self.rows // parts) // (PANEL_ROWS // parts))
        groups = -(-self.cols // INT4_GROUP)
        per_panel = {
            "float32": self.cols * PANEL_ROWS * 4,
            "bfloat16": -(-self.cols // 2) * 2 * PANEL_ROWS * 2,
            "int8": -(-self.cols // 4) * 4 * PANEL_ROWS + PANEL_ROWS * 8,
            "fp8": -(-self.cols // 4) * 4 * PANEL_ROWS + PANEL_ROWS * 4,
            "int4": groups * PANEL_ROWS * (2 + INT4_GROUP // 2),
        }[fmt]
        return panels * per_panel


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model: `parameters` as published; `body_parameters` are those that each token of
    a prompt is multiplied with, `logits_parameters` those of the last matrix, only for outputs;
    `active_parameters`: without the experts that a token does not visit.
    """

    model_type: str
    parameters: int
    active_parameters: int
    body_parameters: int
    logits_parameters: int
    vocab_size: int
    context: int
    layers: int
    matrices: tuple[Matrix, ...]
    vector_bytes: int
    attention: tuple[AttentionLayer, ...]  # what every attention layer keeps
    state_bytes: int  # of recurrent state, a sequence, however long it is

    def weight_bytes(self, fmt: str) -> int:
        """Bytes of all weights in one of formats.WEIGHTS."""
        return sum(matrix.nbytes(fmt) for matrix in self.matrices) + self.vector_bytes

    def kv_bytes_per_token(self, fmt: str) -> int:
        """Bytes of keys and values of one token in one of KEYS_AND_VALUES."""
        bits = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4, "fp8": 8}[fmt]
        total = 0
        for layer in self.attention:
            stored = -(-layer.head_dim // KV_UNIT) * KV_UNIT
            scales = {"int8": 4, "fp8": 4, "int4": -(-stored // KV_GROUP) * 2}.get(fmt, 0)
            planes = 1 if layer.latent else 2
            total += layer.kv_heads * (planes * stored * bits // 8 + 2 * scales)
        return total

    @property
    def kv_formats(self) -> tuple[str, ...]:
        """Those of KEYS_AND_VALUES that the model's cache can have."""
        latent = any(layer.latent for layer in self.attention)
        return tuple(fmt for fmt in KEYS_AND_VALUES if not (latent and fmt == "int4"))


class _Weights:
    """Stands in for `genfast.weights.Weights`: notes shapes, hands out nothing to compute with."""

    def __init__(self) -> None:
        self.prefix = ""
        self.matrices: dict[tuple, Matrix] = {}
        self.vectors: dict[tuple, int] = {}

    def use_prefix(self, prefix: str, probe: str) -> None:
        self.prefix = prefix

    def __contains__(self, name: str) -> bool:
        return True

    def vector(
        self, *names: str, sizes: Sequence[int], order: Sequence[range] | None = None
    ) -> np.ndarray:
        self.vectors[names] = sum(sizes)
        return np.broadcast_to(np.float32(0), (sum(sizes),))

    def array(self, name: str, *shape: int) -> np.ndarray:
        self.vectors[(name,)] = math.prod(shape)
        return np.broadcast_to(np.float32(0), shape)

    def matrix(
        self,
        *names: str,
        rows: Sequence[int],
        cols: int,
        transposed: bool = False,
        gives_logits: bool = False,
        gated: bool = False,
        order: Sequence[range] | None = None,
        part: range | None = None,
        stack: int = 0,
        quantised: bool = True,
    ) -> Matrix:
        count = sum(rows) if part is None else len(part)
        made = Matrix(count, cols, logits=gives_logits, gated=gated, plain=not quantised)
        return self.matrices.setdefault((names, transposed, part), made)

    def expert_stack(
        self, prefix: str, experts: int, hidden: int, ffn: int
    ) -> list[tuple[Matrix, Matrix]]:
        return [
            (
                self.matrix(f"{prefix}{e}.up", rows=[2 * ffn], cols=hidden, gated=True),
                self.matrix(f"{prefix}{e}.down", rows=[hidden], cols=ffn),
            )
            for e in range(experts)
        ]

    def head_matrices(
        self,
        name: str,
        heads: int,
        rows: int,
        part: range,
        cols: int,
        *,
        transposed: bool = False,
        stacked: bool = False,
        quantised: bool = True,
    ) -> list[Matrix]:
        size = (cols, len(part)) if transposed else (len(part), cols)
        made = Matrix(*size, plain=not quantised)
        return [
            self.matrices.setdefault(((name, head, part.start), transposed), made)
            for head in range(heads)
        ]

    def embedding(self, name: str, rows: int, cols: int, *, tied: bool, first: int = 0) -> Matrix:
        if tied:
            return self.matrix(name, rows=[rows], cols=cols, gives_logits=True)
        return self.matrices.setdefault(((name,), False, None), Matrix(rows, cols, table=True))

    def longer_embedding(self, name: str, rows: int, cols: int, more: Any) -> Matrix:
        return self.embedding(name, rows, cols, tied=False)


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[str, int]


class _Graph:
    """Stands in for `genfast.graph.Graph`: follows the shapes, notes attention, state, experts."""

    def __init__(self) -> None:
        self.token_ids = self.positions = _Tensor(("T", 1))
        self.attention_layers: list[AttentionLayer] = []
        self.state_floats = 0  # of a sequence; see csrc/program/ops_state.cc
        self.idle_parameters = 0  # of experts that a token does not visit

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        yield

    def embed(self, ids: _Tensor, table: Matrix, *args: Any, **options: Any) -> _Tensor:
        return _Tensor(("T", table.cols))

    def matmul(self, x: _Tensor, weight: Matrix, *args: Any, **options: Any) -> _Tensor:
        return _Tensor(("T", weight.rows // 2 if weight.gated else weight.rows))

    def attention(
        self, qkv: _Tensor, *, heads: int, kv_heads: int, head_dim: int, **options: Any
    ) -> _Tensor:
        self.attention_layers.append(AttentionLayer(kv_heads, head_dim))
        return _Tensor(("T", heads * head_dim))

    def causal_conv1d(self, x: _Tensor, weight: np.ndarray, *args: Any, **options: Any) -> _Tensor:
        width, channels = weight.shape
        self.state_floats += _round_up((width - 1) * channels)
        return _Tensor(("T", channels))

    def selective_scan(
        self, *args: Any, heads: int, head_dim: int, state: int, **options: Any
    ) -> _Tensor:
        self.state_floats += heads * _round_up(head_dim) * state
        return _Tensor(("T", heads * head_dim))

    def wkv4(self, k: _Tensor, *args: Any, **options: Any) -> _Tensor:
        self.state_floats += _round_up(3 * k.shape[1])
        return k

    def wkv7(self, columns: list, *args: Any, heads: int, head_dim: int, **options: Any) -> _Tensor:
        self.state_floats += heads * _round_up(head_dim) * head_dim
        return columns[0]

    wkv6 = wkv7

    def head_matmul(self, x: _Tensor, weights: list[Matrix], **options: Any) -> _Tensor:
        return _Tensor(("T", sum(matrix.rows for matrix in weights)))

    def latent_attention(
        self, q: _Tensor, turned: _Tensor, rows: _Tensor, *, latent: int, **options: Any
    ) -> _Tensor:
        self.attention_layers.append(AttentionLayer(1, rows.shape[1], latent))
        return q

    def route(self, logits: _Tensor, k: int, **options: Any) -> _Tensor:
        return _Tensor(("T", 2 * k))

    def moe(self, x: _Tensor, routes: _Tensor, experts: list, **options: Any) -> _Tensor:
        size = sum(matrix.rows * matrix.cols for matrix in experts[0])
        self.idle_parameters += size * (len(experts) - routes.shape[1] // 2)
        return x

    def rope_table(self, frequencies: Any, **options: Any) -> _Tensor:
        return _Tensor(("T", frequencies.rotated))

    def __getattr__(self, name: str) -> Any:
        """Of all other ops the result has the shape of the first operand."""
        return lambda x, *args, **options: x


def sizes_of(config: dict[str, Any], file: Path | str = "config.json") -> Sizes:
    """Sizes of the model that a parsed config.json describes.

    LoadError for a model_type without a model file, or a field that is wrong.
    """
    fields = Fields(config, file)
    module = models.find(fields.str("model_type"), file)
    settings = module.Config.from_json(fields)
    weights, graph = _Weights(), _Graph()
    module.forward(graph, settings, weights)
    matrices = tuple(weights.matrices.values())
    vectors = sum(weights.vectors.values())
    parameters = sum(m.rows * m.cols for m in matrices) + vectors
    return Sizes(
        model_type=config["model_type"],
        parameters=parameters,
        active_parameters=parameters - graph.idle_parameters,
        body_parameters=sum(m.rows * m.cols for m in matrices if not (m.table or m.logits))
        - graph.idle_parameters,
        logits_parameters=sum(m.rows * m.cols for m in matrices if m.logits),
        vocab_size=settings.vocab_size,
        context=settings.context,
        layers=settings.layers,
        matrices=matrices,
        vector_bytes=4 * vectors,
        attention=tuple(graph.attention_layers),
        state_bytes=4 * graph.state_floats,
    )


def _round_up(floats: int) -> int:
    """To cache lines."""
    return -(-floats // 16) * 16
