"""A directory of safetensors, mapped and checked before a single weight is touched.

A safetensors file is a little-endian u64 header length, a JSON header
`{name: {"dtype", "shape", "data_offsets": [begin, end]}}`, and the tensors' bytes, which must cover
the rest of the file without gap or overlap. Files come from strangers, so nothing in them is
believed: whatever is wrong is a LoadError that names the file, the tensor, what was found and what
was expected.

The maps are shared and read-only. A file that another process truncates while it is mapped cannot
be guarded against: reading the lost pages kills the process, as in every program that maps files.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import math
import mmap
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .config import open_regular, read_object, show
from .errors import LoadError

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library
MAX_DIM = 1 << 48
MAX_RANK = 16
READABLE = {"F32": 4, "F16": 2, "BF16": 2}  # bytes an element

# Bits an element of every dtype of the format, so that sizes can be checked in files that hold more
# than genfast reads.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True)
class TensorView:
    """One tensor inside a mapped file; `data` is its bytes: uint8, 1-D, read-only, unaligned."""

    name: str
    file: Path
    dtype: str  # "F32" | "F16" | "BF16"
    shape: tuple[int, ...]
    data: np.ndarray
    mapped: bool = True  # false: made of the file's bytes, in memory that holds them alone


@dataclass(frozen=True)
class Entry:
    """A header entry with its fields checked; begin and end count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Checkpoint:
    """The tensors of a directory: of `model.safetensors`, of the shards that
    `model.safetensors.index.json` lists, or of the only `*.safetensors` there is.

    Opening checks every header and reads nothing else; tensors are views into the maps.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._maps: dict[Path, tuple[mmap.mmap, np.ndarray]] = {}
        self._status: dict[Path, os.stat_result] = {}
        self._entries: dict[str, tuple[Path, Entry]] = {}
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        single, index = self.path / "model.safetensors", self.path / "model.safetensors.index.json"
        if not self.path.is_dir():
            problem = "is not a directory" if self.path.exists() else "no such directory"
            raise LoadError(f"{self.path}: {problem}; expected a Hugging Face model directory")
        if os.path.lexists(single):
            self._add(single)
        elif os.path.lexists(index):
            self._add_shards(index)
        else:
            self._add(only_file(self.path))

    def _add_shards(self, index: Path) -> None:
        weight_map = read_object(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise LoadError(
                f"{index}: weight_map: found {show(weight_map)}, expected an object that maps each "
                "tensor to the file that holds it"
            )
        shards: dict[str, list[str]] = {}
        for name, shard in weight_map.items():
            if not isinstance(shard, str) or not is_plain_name(shard):
                raise LoadError(
                    f"{index}: weight_map[{show(name)}]: found {show(shard)}, expected the name of "
                    "a file in the same directory, without any path"
                )
            shards.setdefault(shard, []).append(name)
        for shard, names in sorted(shards.items()):
            file = self.path / shard
            if not os.path.lexists(file):
                raise LoadError(
                    f"{file}: no such file, though {index.name} promises {len(names)} tensors in "
                    f"it ({show(names[0])} first); is the download complete?"
                )
            self._add(file, names)

    def _add(self, file: Path, names: list[str] | None = None) -> None:
        """Map `file` and enter its tensors, or of a shard those the index promises."""
        mapped, status, entries = map_file(file)
        self._maps[file] = (mapped, np.frombuffer(mapped, dtype=np.uint8))
        self._status[file] = status
        for name in entries if names is None else names:
            if name not in entries:
                raise LoadError(
                    f"{file}: tensor {show(name)} is missing, though model.safetensors.index.json "
                    "says it is here"
                )
            self._entries[name] = (file, entries[name])

    def names(self) -> list[str]:
        """The names of all tensors, sorted."""
        return sorted(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def files(self) -> list[Path]:
        """The mapped files, in the order they were opened."""
        return list(self._maps)

    def status(self, file: Path) -> os.stat_result:
        """What the file was when it was mapped."""
        return self._status[file]

    def contents(self, file: Path) -> np.ndarray:
        """All bytes of a mapped file: uint8, 1-D, read-only."""
        return self._maps[file][1]

    def release(self, file: Path, begin: int = 0, length: int | None = None) -> None:
        """Let go of a file's pages, which count as this process's memory once they were read;
        reading them again brings them back. begin: a multiple of the page size."""
        mapped = self._maps[file][0]
        length = len(mapped) - begin if length is None else length
        with contextlib.suppress(OSError, AttributeError):
            mapped.madvise(mmap.MADV_DONTNEED, begin, length)

    @property
    def nbytes(self) -> int:
        """Bytes of tensor data in all."""
        return sum(e.end - e.begin for _, e in self._entries.values())

    def shape(self, name: str) -> tuple[int, ...]:
        """The stored shape of `name`, whatever its dtype; LoadError when it is absent."""
        return self._find(name)[1].shape

    def tensor(self, name: str, shape: Sequence[int] | None = None) -> TensorView:
        """A view of tensor `name`; LoadError when it is absent, not of `shape`, or of a dtype
        genfast does not read (F32, F16 and BF16 it does)."""
        file, entry = self._find(name, shape)
        if shape is not None and entry.shape != tuple(shape):
            raise LoadError(
                f"{file}: tensor {show(name)}: found shape {list(entry.shape)}, "
                f"expected {list(shape)} by config.json"
            )
        if entry.dtype not in READABLE:
            raise LoadError(
                f"{file}: tensor {show(name)}: found dtype {show(entry.dtype)}, expected one of "
                f"{', '.join(READABLE)}; of a quantised checkpoint, open the original instead "
                '(quantize="int8" or "int4" quantises it at load)'
            )
        data = self._maps[file][1][entry.begin : entry.end]
        return TensorView(name, file, entry.dtype, entry.shape, data)

    def raw(self, name: str) -> tuple[str, tuple[int, ...], np.ndarray]:
        """(dtype, shape, bytes) of a tensor of whatever dtype."""
        file, entry = self._find(name)
        return entry.dtype, entry.shape, self._maps[file][1][entry.begin : entry.end]

    def file_of(self, name: str) -> Path:
        return self._find(name)[0]

    def _find(self, name: str, shape: Sequence[int] | None = None) -> tuple[Path, Entry]:
        if not self._maps:
            raise LoadError(f"{self.path}: the checkpoint is closed")
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.6)
        files = [f.name for f in self._maps]
        looked = ", ".join(files[:4]) + (f" and {len(files) - 4} more" if len(files) > 4 else "")
        raise LoadError(
            f"{self.path}: tensor {show(name)} is missing"
            + (f"; expected shape {list(shape)}" if shape is not None else "")
            + f"; looked in {looked} ({len(self._entries)} tensors)"
            + (f"; nearest are {', '.join(show(n) for n in near)}" if near else "")
        )

    def close(self) -> None:
        """Let go of the maps. Views still held keep theirs until they go."""
        maps = [m for m, _ in self._maps.values()]
        self._maps.clear()
        self._entries.clear()
        for m in maps:
            with contextlib.suppress(BufferError):  # a view is still held: the last to go unmaps
                m.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def is_plain_name(name: str) -> bool:
    """Whether `name` can only be a file of the directory itself.

    The name is judged, not where a link of that name leads: the hub's cache is made of links.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return name not in (".", "..") and 0 < size <= 255 and not any(c in "/\\\0" for c in name)


def only_file(directory: Path) -> Path:
    """The one `*.safetensors` of a directory that has no model.safetensors; LoadError otherwise."""
    try:
        present = sorted(os.listdir(directory))
    except OSError as e:
        raise LoadError(f"{directory}: cannot be listed: {e.strerror}") from e
    found = [n for n in present if n.endswith(".safetensors")]
    if len(found) == 1:
        return directory / found[0]
    wanted = "expected model.safetensors or model.safetensors.index.json"
    if found:
        names = ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
        raise LoadError(f"{directory}: found {len(found)} files ({names}) and no index; {wanted}")
    other = [n for n in present if n.endswith((".bin", ".pt", ".pth", ".gguf", ".onnx", ".h5"))]
    if not other:
        raise LoadError(f"{directory}: no safetensors file; {wanted}")
    raise LoadError(
        f"{directory}: no safetensors file, only {other[0]}; {wanted}. Where transformers is "
        "installed, convert with AutoModelForCausalLM.from_pretrained(dir).save_pretrained(dir)"
    )


def map_file(file: Path) -> tuple[mmap.mmap, os.stat_result, dict[str, Entry]]:
    """Map a safetensors file and check its header."""
    fd = open_regular(file)
    try:
        status = os.fstat(fd)
        size = status.st_size
        if size < 8:
            raise LoadError(f"{file}: {size} bytes; expected a safetensors file of 10 or more")
        try:
            mapped = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as e:
            raise LoadError(f"{file}: cannot be mapped: {e}") from e
    finally:
        os.close(fd)
    try:
        return mapped, status, read_header(file, mapped)
    except BaseException:
        mapped.close()
        raise


def read_header(file: Path, mapped: mmap.mmap) -> dict[str, Entry]:
    """The checked entries of a mapped file, in the order of their data."""
    size = len(mapped)
    length = int.from_bytes(mapped[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise LoadError(
            f"{file}: header length {length}, expected at most {MAX_HEADER_BYTES}; "
            "not a safetensors file?"
        )
    if 8 + length > size:
        raise LoadError(
            f"{file}: header length {length}, expected at most {size - 8}, what is left of the "
            "file; is the download complete?"
        )
    header = parse_header(file, mapped[8 : 8 + length])
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or any(type(v) is not str for v in metadata.values()):
        raise LoadError(
            f"{file}: __metadata__: found {show(metadata)}, expected an object of strings"
        )
    begin = 8 + length
    entries = {name: check_entry(file, name, e, begin, size) for name, e in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
    check_cover(file, entries, begin, size)
    return entries


def parse_header(file: Path, raw: bytes) -> dict[str, Any]:
    """The header's JSON object; duplicate keys and non-finite numbers are refused."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = Counter(k for k, _ in pairs).most_common(1)[0][0]
            raise LoadError(f"{file}: header holds {show(twice)} twice; expected unique names")
        return found

    def refuse(constant: str) -> Any:
        raise LoadError(f"{file}: header holds {constant}; expected JSON")

    if not raw.startswith(b"{"):
        raise LoadError(f"{file}: header begins with {raw[:8]!r}, expected '{{': a JSON object")
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except UnicodeDecodeError as e:
        raise LoadError(f"{file}: header is not UTF-8 at byte {e.start}; expected JSON") from None
    except json.JSONDecodeError as e:
        raise LoadError(f"{file}: header is not JSON: {e.msg} at byte {e.pos}") from None
    except RecursionError:
        raise LoadError(f"{file}: header is nested too deeply; expected an object") from None
    except ValueError as e:  # an integer longer than Python converts
        raise LoadError(f"{file}: header is not usable JSON: {e}") from None
    return header


def check_entry(file: Path, name: str, entry: Any, data_begin: int, file_size: int) -> Entry:
    """One header entry with its types, ranges and size checked, shifted to file offsets."""

    def fail(field: str, found: object, expected: str) -> None:
        raise LoadError(
            f"{file}: tensor {show(name)}: {field}: found {show(found)}, expected {expected}"
        )

    if not isinstance(entry, dict):
        fail("header entry", entry, "an object with dtype, shape and data_offsets")
    dtype, shape, offsets = (entry.get(k) for k in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str):
        fail("dtype", dtype, "a string such as F32")
    if not isinstance(shape, list) or len(shape) > MAX_RANK:
        fail("shape", shape, f"a list of at most {MAX_RANK} integers")
    if any(type(d) is not int or not 0 <= d <= MAX_DIM for d in shape):
        fail("shape", shape, f"integers from 0 to {MAX_DIM}")
    if not isinstance(offsets, list) or len(offsets) != 2:
        fail("data_offsets", offsets, "[begin, end]")
    if any(type(o) is not int for o in offsets) or not 0 <= offsets[0] <= offsets[1]:
        fail("data_offsets", offsets, "[begin, end], integers with 0 <= begin <= end")
    begin, end = offsets
    if end > file_size - data_begin:
        fail(
            "data_offsets",
            offsets,
            f"an end of at most {file_size - data_begin}, where the file ends; "
            "is the download complete?",
        )
    if dtype in BITS:
        bits = math.prod(shape) * BITS[dtype]
        if end - begin != -(-bits // 8) or bits % 8:
            fail(
                "data_offsets",
                offsets,
                f"{bits / 8:.12g} bytes for shape {show(shape)} of {dtype}, not {end - begin}",
            )
    return Entry(dtype, tuple(shape), data_begin + begin, data_begin + end)


def check_cover(file: Path, entries: dict[str, Entry], begin: int, size: int) -> None:
    """Entries in order of their data must cover begin..size of the file without gap or overlap."""
    at, previous = begin, "the header"
    for name, e in entries.items():
        if e.begin != at:
            kind = "overlaps" if e.begin < at else "leaves a gap after"
            raise LoadError(
                f"{file}: tensor {show(name)} {kind} {previous}: data_offsets: found begin "
                f"{e.begin - begin}, expected {at - begin}"
            )
        at, previous = e.end, f"tensor {show(name)}"
    if at != size:
        raise LoadError(
            f"{file}: {size - at} bytes after {previous}; expected the file to end at {at}"
        )
