"""The packed cache: a model's matrices as the kernels read them, in a file that processes share.

The file is named by what it holds: a digest of the weights, the format asked for and the layout's
version. It is the panels of one matrix after the other (each a multiple of 64 bytes, so all are
aligned), a JSON footer {what it holds, "matrices": {name: its shape, place and digest}}, and at the
very end the footer's SHA-256, its length and a magic number. It is written beside and renamed, so
it is never seen half done, and never changed afterwards: readers keep the file they mapped.

Nothing in it is believed. The footer is checked on opening, a matrix when it is asked for, at the
speed of memory, which brings its pages in as well; what does not fit is packed again and the file
replaced. The map is shared and read-only; as with a checkpoint, nothing can guard against somebody
who truncates the file while it is mapped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genfast import _core
from genfast.atomic_file import written_whole
from genfast.checkpoint import Checkpoint
from genfast.config import open_regular
from genfast.errors import LoadError
from genfast.weights_digest import checkpoint_digest, digest

log = logging.getLogger("genfast")

_MAGIC = b"GFPACK\x00\x01"
_TRAILER_BYTES = 32 + 8 + len(_MAGIC)


@dataclass(frozen=True)
class PackedShape:
    """What a matrix must be to be taken from the cache."""

    format: str
    rows: int
    cols: int
    gated: bool

    def fields(self) -> dict[str, Any]:
        return {"format": self.format, "shape": [self.rows, self.cols], "gated": self.gated}


class _Damaged(Exception):
    """Why a cache file cannot be used."""


class PackedCache:
    """The cache of one model in one format; `kind` is what `load` was asked for, `adapters` a
    digest of those merged into the weights.

    `find` each matrix, `keep` what had to be packed, and `save` once all are there.
    """

    def __init__(
        self,
        directory: Path,
        checkpoint: Checkpoint,
        kind: str,
        threads: int,
        adapters: str | None = None,
    ) -> None:
        self._threads = threads
        self._holds = {
            "weights": checkpoint_digest(checkpoint, directory, threads),
            "kind": kind,
            "layout": _core.LAYOUT_VERSION,
        }
        if adapters is not None:
            self._holds["adapters"] = adapters
        key = hashlib.sha256(json.dumps(self._holds, sort_keys=True).encode()).hexdigest()
        self.path = directory / f"{key[:32]}.genfast"
        self._kept: dict[str, tuple[PackedShape, _core.Weight]] = {}
        self._complete = True  # all that was kept came from the file
        self._map: np.ndarray | None = None
        self._matrices: dict[str, Any] = {}
        try:
            self._map, self._matrices = _open(self.path, self._holds)
        except FileNotFoundError:
            self._complete = False
        except _Damaged as damage:
            self._reject(damage)

    def find(self, name: str, shape: PackedShape) -> _core.Weight | None:
        """The matrix, mapped and checked; None where it must be packed."""
        if self._map is None:
            return None
        try:
            native = _mapped(self._map, self._matrices.get(name), name, shape, self._threads)
        except _Damaged as damage:
            self._reject(damage)
            return None
        self._kept[name] = (shape, native)
        return native

    def keep(self, name: str, shape: PackedShape, native: _core.Weight) -> None:
        """Notes a matrix that `find` did not have."""
        self._kept[name] = (shape, native)
        self._complete = False

    def save(self) -> None:
        """Writes the file, unless all came from it. That it cannot be written is only logged."""
        if self._complete:
            return
        try:
            with written_whole(self.path) as out:
                _write(out, self._holds, self._kept, self._threads)
        except OSError as error:
            log.warning(
                "%s: the packed weights cannot be kept (%s); the next load packs them again",
                self.path,
                error.strerror or error,
            )

    def _reject(self, damage: _Damaged) -> None:
        """Uses no more of the file; what was taken from it before had been checked."""
        log.warning("%s: %s; packing the weights again", self.path, damage)
        self._map, self._matrices, self._complete = None, {}, False


def _open(path: Path, holds: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """The mapped file and its table of matrices."""
    if not os.path.lexists(path):
        raise FileNotFoundError(path)
    try:
        descriptor = open_regular(path)
    except LoadError as error:
        raise _Damaged(f"cannot be used ({error})") from None
    try:
        mapped = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise _Damaged(f"cannot be mapped ({error})") from None
    finally:
        os.close(descriptor)
    with contextlib.suppress(OSError, AttributeError):
        # Advice: what must come from the disk comes in large pages, where file systems have them.
        mapped.madvise(mmap.MADV_HUGEPAGE)
    data = np.frombuffer(mapped, np.uint8)
    end = data.size - _TRAILER_BYTES
    trailer = data[max(0, end) :].tobytes()
    if end < 0 or trailer[40:] != _MAGIC:
        raise _Damaged("does not end as a packed cache does: truncated, or another version's")
    length = int.from_bytes(trailer[32:40], "little")
    if length > end:
        raise _Damaged(f"has a footer of {length} bytes where {end} are left")
    footer = data[end - length : end].tobytes()
    if hashlib.sha256(footer).digest() != trailer[:32]:
        raise _Damaged("has a damaged footer")
    try:
        table = json.loads(footer)
    except (ValueError, RecursionError):
        raise _Damaged("has a footer that is not JSON") from None
    matrices = table.pop("matrices", None) if isinstance(table, dict) else None
    if table != holds or not isinstance(matrices, dict):
        raise _Damaged("holds something else than its name says")
    return data[: end - length], matrices


def _mapped(
    data: np.ndarray, entry: Any, name: str, shape: PackedShape, threads: int
) -> _core.Weight:
    """The matrix that `entry` describes, if it is one of this shape and its bytes are intact."""
    if not isinstance(entry, dict):
        raise _Damaged(f"lacks {name}")
    found = {key: entry.get(key) for key in shape.fields()}
    if found != shape.fields():
        raise _Damaged(f"has {name} as {found}, expected {shape.fields()}")
    place = entry.get("place")
    if (
        not isinstance(place, list)
        or [type(at) for at in place] != [int, int]
        or not 0 <= place[0] <= place[1] <= data.size
    ):
        raise _Damaged(f"has {name} at {place}, outside its {data.size} bytes")
    panels = data[place[0] : place[1]]
    if digest(panels, threads) != entry.get("digest"):
        raise _Damaged(f"has damaged bytes in {name}")
    try:
        return _core.Weight.panels(panels, shape.format, shape.rows, shape.cols, shape.gated)
    except ValueError as error:
        raise _Damaged(f"has {name} misplaced: {error}") from None


def _write(
    out: Any,
    holds: dict[str, Any],
    matrices: dict[str, tuple[PackedShape, _core.Weight]],
    threads: int,
) -> None:
    table, at = {}, 0
    for name, (shape, native) in matrices.items():
        panels = native.data
        table[name] = {
            **shape.fields(),
            "place": [at, at + panels.nbytes],
            "digest": digest(panels, threads),
        }
        out.write(memoryview(panels))
        at += panels.nbytes
    footer = json.dumps({**holds, "matrices": table}).encode()
    out.write(footer)
    out.write(hashlib.sha256(footer).digest() + len(footer).to_bytes(8, "little") + _MAGIC)
