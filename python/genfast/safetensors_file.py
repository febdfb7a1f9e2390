"""One safetensors file, mapped and checked before a single weight is touched.

A safetensors file is a little-endian u64 header length, a JSON header
`{name: {"dtype", "shape", "data_offsets": [begin, end]}}`, and the tensors' bytes, which must cover
the rest of the file without gap or overlap. Files come from strangers, so nothing in them is
believed: whatever is wrong is a LoadError that names the file, the tensor, what was found and what
was expected.
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import open_regular, show
from .errors import LoadError

MAX_HEADER_BYTES = 100_000_000  # the limit of the format's own library
MAX_DIM = 1 << 48
MAX_RANK = 16

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
class Entry:
    """A header entry with its fields checked; begin and end count from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


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
