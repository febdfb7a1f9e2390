"""`genfast.load`: the door."""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genfast.formats import KEYS_AND_VALUES, QUANTISED
from genfast.images.directory import LoadOptions, is_image_directory, open_pipeline
from genfast.model import Model


def load(
    path: str | os.PathLike | None = None,
    *,
    quantize: str | None = None,
    dtype: str = "auto",
    kv_dtype: str = "auto",
    window: int | None = None,
    sinks: int = 0,
    device: str = "auto",
    gpu_layers: int | None = None,
    threads: int | None = None,
    kv_cache_bytes: int | None = None,
    prefix_cache: bool = True,
    queue_limit: int | None = None,
    progress: bool = True,
    cache_dir: str | os.PathLike | None = None,
    adapters: Sequence[str | os.PathLike | tuple[str | os.PathLike, float]] = (),
    winograd: bool = False,
    tensor_parallel: int = 1,
) -> Any:
    """Opens a Hugging Face model directory: a `Model` of text (config.json, *.safetensors,
    tokenizer files), or an `ImagePipeline` (diffusers' model_index.json, or an image model).

    path: the directory; None opens the small model that ships with genfast.
    quantize: None, "int8", "int4" or "fp8" (E4M3): packs the weights in fewer bits while loading.
    dtype: "auto" (as stored), "float32" or "bfloat16": of weights that are not quantised.
    kv_dtype: of the cached keys and values: "auto" (float32 for float32 weights, else bfloat16),
        "float32", "bfloat16", "int8", "int4" (8 and about 4.5 bits a value, scales included) or
        "fp8" (E4M3, 8 bits).
    window: every attention layer looks back at the last `window` tokens only, so that a request
        holds keys and values of no more, however long it gets (but its positions still end at the
        model's context). This changes the model's answers. None: as the model was made.
    sinks: with a window, the first `sinks` tokens (0 to 32) stay in sight, without which most
        models lose the thread once these leave the window (StreamingLLM); 4 is usual.
    device: "auto" (the CPU), "cpu", or "cuda": the first GPU, for models of text so far
        (docs/cuda.md).
    gpu_layers: with device="cuda", so many of the model's first layers run on the GPU and keep
        their weights, keys and values there; the others run on the CPU. None: all, or as many as
        fit its free memory.
    threads: None for all CPUs this process may use (affinity and cgroup quota).
    kv_cache_bytes: memory for keys and values of all requests; None takes a share of what is free.
        It is reserved at once and used page by page.
    prefix_cache: keep keys and values for prompts that begin like an earlier one, as long as
        there is room.
    queue_limit: most requests that may wait; one more raises QueueFull. None: any number.
    progress: on a terminal, show a bar when loading takes over a second.
    cache_dir: a directory for packed weights, made when it is not there. The first load writes a
        file of their size, later ones map it, so processes share the memory. It is found by the
        weights' contents and checked before use; one that is damaged is written again. Old files
        may be deleted at any time.
    adapters: directories of LoRA adapters as PEFT saves them (adapter_config.json,
        adapter_model.safetensors), which are merged into the weights; several add up. Of a
        pipeline of images: a safetensors file, or a directory with pytorch_lora_weights.safetensors
        as diffusers saves it, or a pair of either and its strength (1 by default).
    winograd: of a pipeline of images: 3 × 3 convolutions by Winograd's F(2 × 2, 3 × 3), with 16
        products in place of 36. Their weights take 1.8 times the memory, and formats that round
        (bfloat16, int8) round more: docs/images.md shows how much.
    tensor_parallel: so many processes of this machine compute the model together, each with a part
        of every layer's matrices, heads, keys and values, and with device="cuda" on a GPU of its
        own; for models of the Llama family (docs/engine.md). It must divide the numbers of KV heads
        and of feed-forward columns. `threads` and `kv_cache_bytes` are each process's; with None
        they share what one would take.

    Raises LoadError for anything wrong in the directory, naming the file, the tensor or field, what
    was found and what was expected; ValueError for a wrong argument; DeviceError where a GPU was
    asked for and cannot be had, saying what is missing.
    """
    _one_of("quantize", quantize, (None, *QUANTISED))
    _one_of("dtype", dtype, ("auto", "float32", "bfloat16"))
    _one_of("kv_dtype", kv_dtype, ("auto", *KEYS_AND_VALUES))
    window = _integer("window", window, 1, 1 << 40)
    sinks = _integer("sinks", sinks, 0, 32) or 0
    if sinks and window is None:
        raise ValueError(f"sinks={sinks} needs a window: with window=None all tokens are seen")
    _one_of("device", device, ("auto", "cpu", "cuda"))
    gpu_layers = _integer("gpu_layers", gpu_layers, 1, 1 << 10)
    if gpu_layers is not None and device != "cuda":
        raise ValueError(f"gpu_layers={gpu_layers} needs device='cuda'; found device={device!r}")
    threads = _integer("threads", threads, 1, 1024)
    kv_cache_bytes = _integer("kv_cache_bytes", kv_cache_bytes, 1, 1 << 46)
    queue_limit = _integer("queue_limit", queue_limit, 1, 1 << 40)
    _one_of("prefix_cache", prefix_cache, (True, False))
    _one_of("winograd", winograd, (True, False))
    cache_dir = _directory("cache_dir", cache_dir)
    if path is None:
        path = importlib.resources.files("genfast") / "data" / "default"
    path = Path(os.fspath(path))
    tensor_parallel = _integer("tensor_parallel", tensor_parallel, 1, 64) or 1
    if tensor_parallel > 1:
        _one_rank_only(tensor_parallel, gpu_layers=gpu_layers, adapters=adapters)
    if is_image_directory(path):
        ranks = tensor_parallel if tensor_parallel > 1 else None
        for name, value in (
            ("window", window),
            ("kv_cache_bytes", kv_cache_bytes),
            ("tensor_parallel", ranks),
        ):
            if value is not None:
                raise ValueError(f"{name}={value!r} is not allowed: {path} is an image model")
        if device == "cuda":
            raise ValueError(f"device='cuda' is not allowed: {path} is an image model")
        loras = _loras(adapters)
        return open_pipeline(
            path, LoadOptions(dtype, quantize, threads or 0, progress, loras, winograd)
        )
    if winograd:
        raise ValueError(f"winograd=True is not allowed: {path} is no image model")
    return Model(
        path,
        quantize=quantize,
        dtype=dtype,
        kv_dtype=kv_dtype,
        window=window,
        sinks=sinks,
        device=device,
        threads=threads or 0,
        kv_cache_bytes=kv_cache_bytes,
        prefix_cache=prefix_cache,
        queue_limit=queue_limit,
        progress=progress,
        cache_dir=cache_dir,
        adapters=_directories("adapters", adapters),
        gpu_layers=gpu_layers,
        tensor_parallel=tensor_parallel,
    )


def _one_of(name: str, value: Any, allowed: tuple) -> None:
    if value not in allowed:
        raise ValueError(
            f"{name}={value!r} is not allowed; allowed: {', '.join(map(repr, allowed))}"
        )


def _integer(name: str, value: Any, low: int, high: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(
            f"{name}={value!r} is not allowed; allowed: None or an int {low} to {high}"
        )
    return value


def _one_rank_only(ranks: int, **given: Any) -> None:
    """What several ranks cannot do yet."""
    for name, value in given.items():
        if value:
            raise ValueError(f"tensor_parallel={ranks} goes without {name} so far")


def _directories(name: str, value: Any) -> list[Path]:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ValueError(f"{name}={value!r} is not allowed; allowed: a list of directories")
    found = []
    for i, item in enumerate(value):
        path = _directory(f"{name}[{i}]", item)
        if path is None or not path.is_dir():
            raise ValueError(f"{name}[{i}]={item!r} is not a directory")
        found.append(path)
    return found


def _loras(value: Any) -> list[tuple[Path, float]]:
    """Files or directories, each with its strength."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise ValueError(f"adapters={value!r} is not allowed; allowed: a list of paths")
    found = []
    for i, item in enumerate(value):
        path, strength = item if isinstance(item, tuple) and len(item) == 2 else (item, 1.0)
        if not isinstance(path, str | os.PathLike) or not os.path.exists(path):
            raise ValueError(f"adapters[{i}]={path!r} is neither a file nor a directory")
        number = isinstance(strength, int | float) and not isinstance(strength, bool)
        if not number or not abs(strength) <= 100:
            raise ValueError(
                f"adapters[{i}]: strength={strength!r} is not allowed; "
                "allowed: a number -100 to 100"
            )
        found.append((Path(os.fspath(path)), float(strength)))
    return found


def _directory(name: str, value: Any) -> Path | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else getattr(value, "__fspath__", lambda: None)()
    if not isinstance(text, str) or not text or "\0" in text:
        raise ValueError(
            f"{name}={value!r} is not allowed; allowed: None or the path of a directory"
        )
    if os.path.lexists(text) and not os.path.isdir(text):
        raise ValueError(f"{name}={value!r} is not a directory")
    return Path(text)
