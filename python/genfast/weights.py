"""From tensors in files to packed weights: what a model file asks of its checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from genfast import _core
from genfast.adapters import Adapters
from genfast.block_fp8 import BlockFp8, bytes_of, view_of
from genfast.checkpoint import Checkpoint, TensorView
from genfast.errors import LoadError
from genfast.expert_stack import ExpertStack
from genfast.packed_cache import PackedCache, PackedShape
from genfast.tensor_floats import to_float32

_FORMATS = {"F32": "f32", "F16": "f16", "BF16": "bf16"}


@dataclass(frozen=True)
class PackedWeight:
    """A weight matrix as the kernels read it, with the name it goes by in the program."""

    name: str
    native: _core.Weight


class Weights:
    """The tensors of a checkpoint, by Hugging Face name, in the formats that `load` asked for.

    dtype: "auto" keeps each tensor's type; "float32", "bfloat16" convert. quantize: None or one of
    formats.QUANTISED for the matrices of matmuls. A matrix that gives logits, or that is also the
    embedding table, is int8 in all of them: there int4 and fp8 cost more quality than they save.
    cache_dir: packed matrices come from there, and `save` puts there those that did not. adapters:
    merged into the weights before these are packed.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        dtype: str = "auto",
        quantize: str | None = None,
        threads: int = 0,
        progress: bool = True,
        cache_dir: Path | None = None,
        adapters: Adapters | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.adapters = adapters or Adapters([], checkpoint)
        self.dtype = dtype
        self.quantize = quantize
        self.threads = threads
        self.prefix = ""
        self._packed: dict[tuple, PackedWeight] = {}
        self._cache = (
            PackedCache(cache_dir, checkpoint, quantize or dtype, threads, self.adapters.digest())
            if cache_dir
            else None
        )
        self._bar = _progress_bar(checkpoint.nbytes) if progress else None

    def save(self) -> None:
        """Keeps the matrices for the next load, once all were asked for."""
        self.adapters.check_used()
        if self._cache is not None:
            self._cache.save()

    def close(self) -> None:
        """Takes the bar away, and the files' pages out of memory: all that is used of them again
        is a table that tokens are looked up in."""
        for file in self.checkpoint.files:
            self.checkpoint.release(file)
        if self._bar is not None:
            self._bar.close()

    def _loaded(self, nbytes: int) -> None:
        if self._bar is not None:
            self._bar.update(nbytes)

    def use_prefix(self, prefix: str, probe: str) -> None:
        """Names get `prefix` if that is how the checkpoint spells them: some are saved from the
        bare model, without it. probe: a tensor that tells."""
        if f"{prefix}{probe}" in self.checkpoint:
            self.prefix = prefix

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.checkpoint

    def _tensor(self, name: str, shape: tuple[int, ...]) -> TensorView:
        view = self.checkpoint.tensor(self.prefix + name, shape)
        self.adapters.asked(view.name)
        return view

    def vector(
        self, *names: str, sizes: Sequence[int], order: Sequence[range] | None = None
    ) -> np.ndarray:
        """Vectors end to end, as float32: a norm's weight, or the biases of q, k and v.

        order: which numbers, where one name holds them in another order than is wanted.
        """
        parts = []
        for name, size in zip(names, sizes, strict=True):
            view = self._tensor(name, (size,))
            parts.append(to_float32(self.adapters.merged(view)))
            self._loaded(view.data.nbytes)
        if order is not None:
            parts = [parts[0][rows.start : rows.stop] for rows in order]
        return np.concatenate(parts) if len(parts) > 1 else parts[0]

    def array(self, name: str, *shape: int) -> np.ndarray:
        """A tensor of this shape, as float32."""
        view = self._tensor(name, shape)
        numbers = to_float32(self.adapters.merged(view)).reshape(shape)
        self.checkpoint.release_view(view)
        self._loaded(view.data.nbytes)
        return numbers

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
    ) -> PackedWeight:
        """Matrices [rows, cols] stacked and packed; transposed: stored as [cols, rows].

        gated: gate and up, whose matmul gives activation(gate) · up. order: which rows, where one
        matrix holds them in another order than is wanted: q, k and v head by head, say; a row may
        come twice. part: only these rows of one matrix. stack: it is stored as so many, [stack,
        rows / stack, cols]. quantised: false for a small matrix that decides much, a router's.
        """
        key = (names, transposed, part)
        if key in self._packed:
            return self._packed[key]
        stored = [
            self._stored(name, (cols, n) if transposed else (n, cols), stack)
            for name, n in zip(names, rows, strict=True)
        ]
        whole_name = ",".join(each.name for each in stored)
        nbytes = sum(bytes_of(each) for each in stored)
        if part is not None:
            nbytes = nbytes // rows[0] * len(part)
            kept = order or [range(len(part))]
            rows = [len(part)]
            order = [range(part.start + r.start, part.start + r.stop) for r in kept]
            whole_name += f"[{part.start}:{part.stop}]"
        total = sum(rows) if order is None else sum(map(len, order))
        shape = PackedShape(self._format(stored, gives_logits, quantised), total, cols, gated)

        def whole() -> list[TensorView]:
            merged = [self.adapters.merged(view_of(each), transposed) for each in stored]
            return merged if order is None else [rows_of(merged[0], rows) for rows in order]

        native = self._native(whole_name, shape, whole, transposed)
        self._loaded(nbytes)
        label = names[0].removesuffix(".weight") + ("+" if len(names) > 1 else "")
        self._packed[key] = PackedWeight(label, native)
        return self._packed[key]

    def expert_stack(
        self, prefix: str, experts: int, hidden: int, ffn: int
    ) -> list[tuple[PackedWeight, PackedWeight]]:
        """What `Graph.moe` takes, where gates and ups, row by row in turns, are one tensor of a
        layer and downs are another (expert_stack.py)."""
        parts = []
        for name, rows, cols in (("gate_up_proj", 2 * ffn, hidden), ("down_proj", hidden, ffn)):
            gated = name == "gate_up_proj"
            stack = ExpertStack(
                self.checkpoint, f"{self.prefix}{prefix}{name}", experts, rows, cols
            )
            shape = PackedShape(self._format([stack], False, True), rows, cols, gated)
            parts.append([self._of_stack(stack, e, shape) for e in range(experts)])
            self._loaded(stack.nbytes)
            self.checkpoint.release(stack.file)
        return list(zip(*parts, strict=True))

    def _of_stack(self, stack: ExpertStack, expert: int, shape: PackedShape) -> PackedWeight:
        name = f"{stack.name}[{expert}]"
        native = self._native(
            name, shape, lambda: stack.matrix(expert, take_turns=shape.gated), stack.transposed
        )
        return PackedWeight(name.removeprefix(self.prefix), native)

    def _native(
        self,
        name: str,
        shape: PackedShape,
        views: Callable[[], list[TensorView]],
        transposed: bool,
    ) -> _core.Weight:
        """From the cache, or packed from `views`."""
        native = self._cache.find(name, shape) if self._cache else None
        if native is None:
            native = self._pack(views(), shape, transposed)
            if self._cache:
                self._cache.keep(name, shape, native)
        return native

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
    ) -> list[PackedWeight]:
        """Of a tensor [heads · rows, cols], the rows `part` of every head as a matrix of its own;
        transposed: [cols, len(part)]. stacked: it is stored as [heads, rows, cols]. quantised: see
        `matrix`."""
        stored = self._stored(name, (heads * rows, cols), heads if stacked else 0)
        whole = cache(lambda: self.adapters.merged(view_of(stored)))
        size = (cols, len(part)) if transposed else (len(part), cols)
        shape = PackedShape(self._format([stored], False, quantised), *size, False)
        packed = []
        for head in range(heads):
            own = range(head * rows + part.start, head * rows + part.stop)
            key = f"{stored.name}[{own.start}:{own.stop}]{'T' if transposed else ''}"
            native = self._native(key, shape, lambda own=own: [rows_of(whole(), own)], transposed)
            packed.append(PackedWeight(key.removeprefix(self.prefix), native))
        self._loaded(bytes_of(stored) // rows * len(part))
        return packed

    def _stored(self, name: str, shape: tuple[int, int], stack: int = 0) -> TensorView | BlockFp8:
        whole = self.prefix + name
        if stack:
            rows, cols = shape
            return replace(self._tensor(name, (stack, rows // stack, cols)), shape=shape)
        if f"{whole}_scale_inv" not in self.checkpoint:
            return self._tensor(name, shape)
        self.adapters.asked(whole)
        return BlockFp8(self.checkpoint, whole, shape)

    def _pack(self, views: list[TensorView], shape: PackedShape, transposed: bool) -> _core.Weight:
        sources = [
            (view.data, view.dtype, view.shape[transposed], shape.cols, transposed)
            for view in views
        ]
        try:
            mapped = all(view.mapped for view in views)
            return _core.Weight(shape.format, sources, self.threads, shape.gated, mapped=mapped)
        except ValueError as error:
            where = ", ".join(f"{view.file}: tensor '{view.name}'" for view in views)
            raise LoadError(f"{where}: {error}") from None

    def embedding(
        self, name: str, rows: int, cols: int, *, tied: bool, first: int = 0
    ) -> PackedWeight:
        """An embedding table [rows, cols]; tied: it is the logits' matrix too and so is packed.
        first: how many rows belong to no id."""
        if tied:
            return self.matrix(name, rows=[rows], cols=cols, gives_logits=True)
        view = self._tensor(name, (rows, cols))
        self._loaded(view.data.nbytes)
        view = rows_of(self.adapters.merged(view), range(first, rows))
        native = _core.Weight.rows(view.data, view.dtype, rows - first, cols)
        return PackedWeight(name.removesuffix(".weight"), native)

    def longer_embedding(
        self, name: str, rows: int, cols: int, more: Callable[[], np.ndarray]
    ) -> PackedWeight:
        """An embedding table [rows, cols], and after it rows that are computed, [any, cols]; all
        as the table is stored."""
        view = self._tensor(name, (rows, cols))
        self._loaded(view.data.nbytes)
        merged, computed = self.adapters.merged(view), np.ascontiguousarray(more(), np.float32)
        sources = [
            (merged.data, merged.dtype, rows, cols, False),
            (computed.view(np.uint8).reshape(-1), "F32", len(computed), cols, False),
        ]
        native = _core.Weight(_FORMATS[view.dtype], sources, self.threads)
        return PackedWeight(name.removesuffix(".weight"), native)

    def _format(
        self,
        views: Sequence[TensorView | BlockFp8 | ExpertStack],
        gives_logits: bool,
        quantised: bool,
    ) -> str:
        if self.quantize and quantised:
            return "int8" if gives_logits else self.quantize
        if self.dtype == "auto":
            kinds = {view.dtype for view in views}
            return _FORMATS[kinds.pop()] if len(kinds) == 1 else "f32"
        return {"float32": "f32", "bfloat16": "bf16"}[self.dtype]


def _progress_bar(nbytes: int):
    """A bar on a terminal, shown once loading has taken a second; None elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    from tqdm import tqdm  # here, as it starts a thread of its own

    return tqdm(
        desc="loading weights", total=nbytes, unit="B", unit_scale=True, delay=1, leave=False
    )


def rows_of(view: TensorView, rows: range) -> TensorView:
    size = view.data.nbytes // view.shape[0]
    data = view.data[rows.start * size : rows.stop * size]
    return replace(view, shape=(len(rows), *view.shape[1:]), data=data)
