"""The compiled part. Private: use the genfast package, whose docstrings say what things mean."""

from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Source = tuple[NDArray[np.uint8], str, int, int, bool]  # bytes, dtype, rows, cols, transposed

ops: ModuleType

def cpu_info() -> dict[str, Any]: ...
def cuda_info() -> dict[str, Any]: ...
def tap(
    program: Program,
    layouts: list[KvLayout],
    token_ids: list[int],
    names: list[str],
    threads: int = 0,
    isa: str = "",
    on_device: int = ...,
) -> dict[str, F32]: ...

LAYOUT_VERSION: int

def checksum(array: NDArray[np.uint8], threads: int = 0) -> bytes: ...

class Weight:
    format: str
    N: int
    K: int
    nbytes: int
    data: NDArray[np.uint8]
    def __init__(
        self,
        format: str,
        sources: list[Source],
        threads: int = 0,
        gated: bool = False,
        isa: str = "",
        mapped: bool = False,
    ) -> None: ...
    @staticmethod
    def panels(array: NDArray[np.uint8], format: str, N: int, K: int, gated: bool) -> Weight: ...
    @staticmethod
    def rows(array: NDArray[np.uint8], dtype: str, N: int, K: int) -> Weight: ...
    def unpack(self) -> F32: ...

class KvLayout:
    page_bytes: int
    def __init__(self, kv_dtype: str, heads: int, head_dim: int) -> None: ...
    @staticmethod
    def latent(kv_dtype: str, latent: int, rotated: int) -> KvLayout: ...

class Program:
    token_ids: int
    positions: int
    weight_bytes: int
    state_bytes: int
    weight_formats: list[str]
    names: list[str]
    def __init__(self) -> None: ...
    def constant(self, name: str, data: F32) -> int: ...
    def matrix(self, name: str, weight: Weight) -> int: ...
    def append(
        self, op: str, inputs: list[int], attributes: dict[str, Any], name: str, where: str
    ) -> int: ...
    def input(self, name: str, rows: int, cols: int) -> int: ...
    def weight_bytes_of(self, instructions: int) -> int: ...
    def set_output(self, value: int) -> None: ...
    def add_output(self, value: int) -> None: ...
    def shape(self, value: int) -> tuple[int, int]: ...

class Communicator:
    rank: int
    size: int
    def all_reduce_sum(self, array: F32) -> F32: ...
    def all_gather(self, array: F32) -> F32: ...
    def broadcast(self, data: bytes) -> bytes: ...

class HostCommunicator(Communicator):
    def __init__(
        self, rank: int, size: int, memory: int, sockets: list[int], seconds: float
    ) -> None: ...
    def leave(self) -> None: ...
    @staticmethod
    def shared_bytes(size: int) -> int: ...

def follow(
    program: Program, layouts: list[KvLayout], ranks: Communicator, threads: int, isa: str
) -> NoReturn: ...

class StaticProgram:
    arena_bytes: int
    def __init__(
        self,
        program: Program,
        threads: int = 0,
        isa: str = "",
        keep_all: bool = False,
        check: bool = False,
    ) -> None: ...
    def run(self, inputs: dict[str, F32]) -> list[F32]: ...
    def value(self, name: str) -> F32: ...
    def dump(self) -> str: ...

class SamplingParams:
    """csrc/engine/sampling/params.h, a keyword a field."""
    def __init__(self, **fields: Any) -> None: ...

class BeamParams:
    def __init__(
        self,
        *,
        count: int = 1,
        groups: int = 1,
        length_penalty: float = 1.0,
        diversity_penalty: float = 0.0,
        early_stopping: str = "no",
        required: list[list[int]] = ...,
    ) -> None: ...

class Sampler:
    def __init__(self, params: SamplingParams, prompt: list[int]) -> None: ...
    def next(
        self,
        logits: F32,
        position: int,
        *,
        allowed: NDArray[np.uint32] | None = None,
        isa: str = "",
    ) -> tuple[int, float, list[tuple[int, float]], F32]: ...
    def accept(self, token: int) -> None: ...
    def edit(self, logits: F32) -> F32: ...

def mask_logits(logits: F32, allowed: NDArray[np.uint32]) -> None: ...

class MaskQueue:
    waits: int
    waited_seconds: float
    def take(self) -> TokenMasks | None: ...
    def close(self) -> None: ...

class TokenMasks:
    key: int
    def __init__(self, queue: MaskQueue, key: int, bits: int) -> None: ...
    def take(self) -> tuple[list[int], list[int], list[tuple[int, int]]]: ...
    def words(self, row: int) -> NDArray[np.uint32]: ...
    def answer(self, rows: list[str], forced: list[int] = ...) -> None: ...
    def fail(self, error: str) -> None: ...

class Request:
    prompt: list[int]
    prompt_logprobs: list[tuple[float, list[tuple[int, float]], float, float]]
    def wait(self, tokens: int, seconds: float) -> bool: ...
    def snapshot(self, start: int = 0) -> dict[str, Any]: ...
    def hypotheses(self) -> list[dict[str, Any]]: ...
    def take_logits(self, vocabulary: int) -> F32: ...

class NgramIndex:
    LONGEST: int
    def __init__(self) -> None: ...
    def longest(self, context: list[int]) -> tuple[int, int]: ...

class CostModel:
    def __init__(self) -> None: ...
    def record(self, rows: int, seconds: float) -> None: ...

class Speculation:
    MOST: int
    def __init__(self, prompt: list[int]) -> None: ...
    def draft(
        self, context: list[int], most: int, cost: CostModel, requests: int = 1
    ) -> tuple[list[int], int]: ...
    def verified(self, tokens: list[int], source: int, rejected: int) -> None: ...

class DraftModel: ...

class Engine:
    isa: str
    def __init__(
        self,
        *,
        program: Program,
        layouts: list[KvLayout],
        threads: int,
        isa: str,
        on_device: int = ...,
        kv_pages: int,
        step_tokens: int,
        sequences: int,
        context: int,
        vocabulary: int,
        check: bool,
        queue: int = ...,
        prefix_cache: bool = True,
        ranks: Communicator | None = None,
        state_slots: int = 0,
    ) -> None: ...
    def submit(
        self,
        prompt: list[int],
        max_tokens: int,
        sampling: SamplingParams = ...,
        *,
        prompt_outputs: str = "",
        outputs_from: int = 0,
        reuse: bool = True,
        chunk: int = 0,
        priority: int = 0,
        deadline_seconds: float = ...,
        speculate: str = ...,
        draft_model: DraftModel | None = None,
        masks: TokenMasks | None = None,
        beams: BeamParams = ...,
        guidance_scale: float = 1.0,
        negative_prompt: list[int] = ...,
    ) -> Request: ...
    def export_kv(self, tokens: list[int]) -> tuple[int, NDArray[np.uint8], NDArray[np.uint8]]: ...
    def import_kv(
        self, tokens: list[int], pages: NDArray[np.uint8], state: NDArray[np.uint8]
    ) -> int: ...
    def cancel(self, request: Request) -> None: ...
    def close(self) -> None: ...
    def stats(self) -> dict[str, float]: ...
    def dump(self) -> str: ...
