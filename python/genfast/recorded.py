"""From a model's directory to its program: what every rank does for its part of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from genfast import _core
from genfast.adapters import Adapter, Adapters
from genfast.checkpoint import Checkpoint
from genfast.graph import Graph
from genfast.shard import Shard, ShardedGraph, ShardedWeights
from genfast.weights import Weights


@dataclass(frozen=True)
class Formats:
    """How weights, keys and values are kept, and how far attention looks back; see `load`."""

    quantize: str | None
    dtype: str
    kv_dtype: str
    window: int | None
    sinks: int


@dataclass(frozen=True)
class Recorded:
    """kv_dtype: as it was chosen where it was "auto". layouts: of keys and values, a layer each."""

    program: _core.Program
    layouts: list[_core.KvLayout]
    kv_dtype: str


def record(
    checkpoint: Checkpoint,
    module: ModuleType,
    hparams: Any,
    formats: Formats,
    *,
    threads: int,
    progress: bool = False,
    cache_dir: Path | None = None,
    adapters: Sequence[Path] = (),
    shard: Shard | None = None,
) -> Recorded:
    """Runs the model file's `forward` once. shard: of which only this part is wanted."""
    window = (formats.window or 0, formats.sinks)
    graph = ShardedGraph(shard, *window) if shard else Graph(*window)
    with Adapters(map(Adapter, adapters), checkpoint) as merged:
        options = {
            "dtype": formats.dtype,
            "quantize": formats.quantize,
            "threads": threads,
            "progress": progress,
            "cache_dir": cache_dir,
            "adapters": merged,
        }
        weights = (
            ShardedWeights(shard, checkpoint, **options)
            if shard
            else Weights(checkpoint, **options)
        )
        try:
            logits = module.forward(graph, shard.part_of(hparams) if shard else hparams, weights)
            weights.save()
        finally:
            weights.close()
    graph.program.set_output(logits.id)
    graph.check_window(module.__name__.rpartition(".")[2])
    kv_dtype = formats.kv_dtype
    if kv_dtype == "auto":
        kv_dtype = "float32" if graph.program.weight_formats == ["f32"] else "bfloat16"
    return Recorded(
        graph.program, [layer.layout(kv_dtype) for layer in graph.attention_layers], kv_dtype
    )
