"""The two files of a batch: the rows that ask, and the results that answer.

A result names its row by number and by a digest of its text: a run that was stopped goes on where
it was, and one whose input was changed meanwhile is not mixed up with it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genfast.errors import GenfastError


@dataclass(frozen=True)
class Row:
    """number: of the line, from 0. fields: what it asks, or None where `error` says what is wrong
    with the line."""

    number: int
    digest: str
    fields: dict[str, Any] | None
    error: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSON Lines file; blank lines are none."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            if line.strip():
                yield _row(number, line.rstrip(b"\r\n"))


def _row(number: int, line: bytes) -> Row:
    digest = hashlib.blake2b(line, digest_size=8).hexdigest()
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Row(number, digest, None, f"not a line of JSON: {error}")
    if not isinstance(fields, dict):
        return Row(number, digest, None, f"{type(fields).__name__}; expected a JSON object")
    return Row(number, digest, fields)


class Results:
    """A JSON Lines file that grows by a result at a time; `done` rows are in it already.

    One process writes it at a time. What a process that was killed had begun to write is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digests: dict[int, str] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise GenfastError(f"{path}: another process is writing it") from None
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        self._file.seek(0)
        whole = 0
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            try:
                result = json.loads(line)
                self._digests[int(result["row"])] = str(result["digest"])
            except (ValueError, TypeError, KeyError):
                at = line[:40].decode("utf-8", "replace")
                raise GenfastError(
                    f"{self._path}: {at!r} is no result of a batch; is it the right file?"
                ) from None
            whole += len(line)
        self._file.truncate(whole)

    @property
    def done(self) -> int:
        return len(self._digests)

    def has(self, row: Row) -> bool:
        """Whether this row was answered. GenfastError when another one was in its place."""
        digest = self._digests.get(row.number)
        if digest not in (None, row.digest):
            raise GenfastError(
                f"{self._path}: the result of row {row.number} is of another input; "
                "give the file it was made from, or another output"
            )
        return digest is not None

    def write(self, result: dict[str, Any]) -> None:
        """A result once; one that is there already is not written again."""
        if result["row"] in self._digests:
            return
        self._digests[result["row"]] = result["digest"]
        line = json.dumps(result, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        self._file.write(line)
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
