"""Ways to spoil a good directory, and what the error must then say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Spoil = Callable[[Path], None]


class Cases(dict[str, tuple[Spoil, list[str] | None]]):
    """Maps a name to (spoil, words): `spoil(directory)` changes a good directory in place; the
    LoadError must hold every one of `words`. Without words (`None`) the damage may also be
    harmless, as a flipped bit in a weight is: then the model must load and generate.
    """

    def add(self, name: str, spoil: Spoil, words: list[str] | None) -> None:
        assert name not in self, name
        self[name] = (spoil, words)
