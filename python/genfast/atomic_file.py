"""Files that appear whole or not at all, whoever else reads and writes them."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_YOUNG_SECONDS = 60  # a file just made may not be locked yet


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the name `path` when the block ends well: readers see the old
    file or the new one. When it does not end well nothing is left behind. OSError as usual."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(path)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield file
            file.flush()
            os.fchmod(descriptor, 0o666 & ~_umask())  # mkstemp's files are for one user only
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_directory(path.parent)


def _remove_abandoned(path: Path) -> None:
    """What writers of this file left behind that were killed: a living one holds a lock."""
    for name in glob.glob(f".{glob.escape(path.name)}.*.tmp", root_dir=path.parent):
        with contextlib.suppress(OSError), open(path.parent / name, "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime < _YOUNG_SECONDS:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path.parent / name)


def _umask() -> int:
    """The process's mask, read where reading does not change it."""
    with contextlib.suppress(OSError, ValueError), open("/proc/self/status") as status:
        return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    return 0o077


def _sync_directory(directory: Path) -> None:
    """Makes a rename last; some file systems do not offer it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
