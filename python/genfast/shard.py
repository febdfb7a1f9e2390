"""One rank's part of a model: tensor parallelism as Megatron cuts it.

Of each layer's first matrices (q, k, v; gate, up) a rank has a range of the outputs, whole heads
and whole gates; of the matrix behind them (o; down) the same range of the inputs. So between the
two nobody needs another's numbers, and what the ranks' products are behind the second adds up to
the whole. The head is cut by the vocabulary where that can be divided; norms, the embedding, and a
head that is the embedding too, every rank has whole. Shoeybi et al., 2019 (arXiv 1909.08053).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from genfast.checkpoint import READABLE, TensorView
from genfast.errors import LoadError
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.packed_cache import PackedCache
from genfast.weights import PackedWeight, Weights, rows_of

_BY_OUTPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
_BY_INPUTS = ("o_proj", "down_proj")
_CUT = ("heads", "kv_heads", "intermediate_size")  # fields of the Config


@dataclass(frozen=True)
class Shard:
    """Rank `rank`'s part, one of `size`."""

    rank: int
    size: int

    def check(self, module: ModuleType, hparams: Any) -> None:
        """ValueError for a model that this cut does not fit."""
        name = module.__name__.rpartition(".")[2]
        if module.forward is not llama.forward or hparams.fused:
            raise ValueError(
                f"tensor_parallel={self.size} is not allowed: {name} is no model of the Llama "
                "family with q, k, v, gate and up apart, and only these can be cut"
            )
        for field in _CUT:
            count = getattr(hparams, field)
            if count % self.size:
                raise ValueError(
                    f"tensor_parallel={self.size} is not allowed: it must divide the model's "
                    f"{field} = {count}"
                )

    def part_of(self, hparams: llama.Config) -> llama.Config:
        """The sizes of this rank's part."""
        return replace(hparams, **{f: getattr(hparams, f) // self.size for f in _CUT})

    def range_of(self, part: int) -> range:
        """Where this rank's part, of `part` rows or columns, lies in the whole."""
        return range(self.rank * part, (self.rank + 1) * part)


class PartialWeight(PackedWeight):
    """A matrix of some of the inputs: the ranks' products add up to what is wanted."""


class VocabularyPart(PackedWeight):
    """A matrix of some of the logits: the ranks' products, side by side, are all of them."""


class ShardedGraph(Graph):
    """Records one rank's program: where products are parts of a sum, an `all_reduce` follows, and
    where they are parts of a row, an `all_gather`."""

    def __init__(self, shard: Shard, window: int = 0, sinks: int = 0) -> None:
        super().__init__(window, sinks)
        self._shard = shard

    def matmul(
        self,
        x: Tensor,
        weight,
        bias: np.ndarray | None = None,
        *,
        activation: str = "none",
        residual: Tensor | None = None,
        name="matmul",
    ) -> Tensor:
        options = {"activation": activation, "residual": residual}
        if isinstance(weight, PartialWeight):
            assert activation == "none", "of a sum, not of its parts"
            if self._shard.rank > 0:  # what is added to the sum is added once
                bias, options["residual"] = None, None
            part = super().matmul(x, weight, bias, name=f"{name}_part", **options)
            return self._append("all_reduce", [part], {}, name)
        if isinstance(weight, VocabularyPart):
            assert bias is None and residual is None, "no model that is cut has any"
            part = super().matmul(x, weight, name=f"{name}_part", **options)
            return self._append("all_gather", [part], {"ranks": self._shard.size}, name)
        return super().matmul(x, weight, bias, name=name, **options)


class ShardedWeights(Weights):
    """The tensors of a checkpoint, cut: who asks for a part's sizes gets that part."""

    def __init__(self, shard: Shard, checkpoint, *, cache_dir=None, **options: Any) -> None:
        super().__init__(checkpoint, **options)
        self._shard = shard
        if cache_dir is not None:
            kind = f"{self.quantize or self.dtype}, rank {shard.rank} of {shard.size}"
            self._cache = PackedCache(cache_dir, checkpoint, kind, self.threads)

    def matrix(self, *names: str, rows: Sequence[int], **options: Any) -> PackedWeight:
        module = _module(names[0])
        if module == "lm_head" and rows[0] % self._shard.size == 0:
            part = self._shard.range_of(rows[0] // self._shard.size)
            weight = super().matrix(*names, rows=rows, part=part, **options)
            return VocabularyPart(weight.name, weight.native)
        weight = super().matrix(*names, rows=rows, **options)
        if module in _BY_INPUTS:
            return PartialWeight(weight.name, weight.native)
        return weight

    def _stored(self, name: str, shape: tuple[int, int], stack: int = 0) -> Any:
        stored = super()._stored(name, shape, stack)
        if not isinstance(stored, TensorView):
            raise LoadError(
                f"{self.checkpoint.path}: tensor {name} is stored in fp8 with scales, which "
                "tensor_parallel cannot cut; load it with tensor_parallel=1"
            )
        return stored

    def _tensor(self, name: str, shape: tuple[int, ...]) -> TensorView:
        module = _module(name)
        if module in _BY_OUTPUTS:
            part, *rest = shape
            whole = super()._tensor(name, (part * self._shard.size, *rest))
            return self._named(rows_of(whole, self._shard.range_of(part)))
        if module in _BY_INPUTS and len(shape) == 2:
            rows, part = shape
            whole = super()._tensor(name, (rows, part * self._shard.size))
            return self._named(_columns_of(whole, self._shard.range_of(part)))
        return super()._tensor(name, shape)

    def _named(self, view: TensorView) -> TensorView:
        return replace(view, name=f"{view.name}[rank {self._shard.rank} of {self._shard.size}]")


def _module(name: str) -> str:
    """ "q_proj" of "layers.0.self_attn.q_proj.weight"."""
    return name.split(".")[-2] if "." in name else ""


def _columns_of(view: TensorView, columns: range) -> TensorView:
    size = READABLE[view.dtype]
    rows = view.data.reshape(view.shape[0], -1)
    data = np.ascontiguousarray(rows[:, columns.start * size : columns.stop * size]).reshape(-1)
    return replace(view, shape=(view.shape[0], len(columns)), data=data, mapped=False)
