"""A digest of a checkpoint's contents: equal weights give equal digests, wherever they lie.

Reading gigabytes at each load would cost what the cache is there to save, so a file's digest is
remembered by its identity: device, inode, size, time of modification and of status change. That is
what git's index does, and sound for the same reason: whoever writes to a file, renames another onto
it or sets its time back moves the last of these, which no program can choose. As the clock ticks
coarsely, a file that changed within the last two seconds is not remembered, nor is one that changed
while it was read. What remains is a writer that holds the file mapped and dirty before and after.

The digest finds accidents, not attacks: two checkpoints can be built to share one. Whoever may
write to the cache directory can put any weights there anyway.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from genfast import _core
from genfast.atomic_file import written_whole
from genfast.checkpoint import Checkpoint

log = logging.getLogger("genfast")

_STEP_BYTES = 32 << 20  # whole chunks of the checksum
_CLOCK_TICK_NS = 2_000_000_000  # the coarsest of file systems in use


def digest(
    data: np.ndarray, threads: int = 0, done: Callable[[int, int], None] | None = None
) -> str:
    """64 hex digits for the bytes of a uint8 array. done: told of each stretch that was read."""
    hashed = hashlib.sha256(data.size.to_bytes(8, "little"))
    for begin in range(0, data.size, _STEP_BYTES):
        stretch = data[begin : begin + _STEP_BYTES]
        hashed.update(_core.checksum(stretch, threads))
        if done:
            done(begin, stretch.size)
    return hashed.hexdigest()


def checkpoint_digest(checkpoint: Checkpoint, directory: Path, threads: int = 0) -> str:
    """The digest of all files of the checkpoint; those of single files are remembered in
    `directory`."""
    whole = hashlib.sha256()
    for file in checkpoint.files:
        known = directory / f"{_identity(checkpoint.status(file))}.digest"
        found = _recall(known)
        if found is None:
            contents = checkpoint.contents(file)
            found = digest(contents, threads, done=partial(checkpoint.release, file))
            _remember(known, found, file, checkpoint.status(file))
        whole.update(bytes.fromhex(found))
    return whole.hexdigest()


def _identity(status: os.stat_result) -> str:
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _check(known: Path, found: str) -> str:
    return hashlib.sha256(f"{known.name} {found}".encode()).hexdigest()


def _recall(known: Path) -> str | None:
    """The digest under this name; None where there is none, or a damaged one."""
    try:
        found, check = known.read_text("ascii").split()
    except (OSError, ValueError):
        return None
    return found if check == _check(known, found) else None


def _remember(known: Path, found: str, file: Path, mapped: os.stat_result) -> None:
    try:
        unchanged = _identity(os.stat(file)) == _identity(mapped)
        settled = time.time_ns() - max(mapped.st_mtime_ns, mapped.st_ctime_ns) > _CLOCK_TICK_NS
        if unchanged and settled:
            with written_whole(known) as out:
                out.write(f"{found} {_check(known, found)}\n".encode())
    except OSError as error:
        log.warning("%s: cannot be written (%s); the next load hashes again", known, error.strerror)
