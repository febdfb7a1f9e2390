"""What a model directory holds, as hashes: the same answer needs the same weights and texts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from genfast.adapters import Adapter
from genfast.checkpoint import Checkpoint
from genfast.tokenizer import Tokenizer

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "encoder.json",
    "vocab.bpe",
)


class Fingerprint:
    """SHA-256 of a directory's parts, each computed when first asked for, from the files.

    tensors takes about a second for two gigabytes; the rest is small.
    """

    def __init__(
        self, path: Path, tokenizer: Tokenizer | None, adapters: Sequence[Path] = ()
    ) -> None:
        self._path = path
        self._adapters = adapters
        self._template = tokenizer.chat_template if tokenizer else None

    @cached_property
    def tensors(self) -> dict[str, str]:
        """By name, of dtype, shape and bytes; and those of adapters, with their configs."""

        def digest(name: str) -> str:
            dtype, shape, data = checkpoint.raw(name)
            hashed = hashlib.sha256(f"{dtype} {list(shape)} ".encode())
            hashed.update(data)
            return hashed.hexdigest()

        with Checkpoint(self._path) as checkpoint, ThreadPoolExecutor() as pool:
            names = checkpoint.names()
            found = dict(zip(names, pool.map(digest, names), strict=True))
        for i, path in enumerate(self._adapters):
            with Adapter(path) as adapter:
                found |= {f"adapters[{i}] {k}": v for k, v in adapter.digests().items()}
        return found

    @cached_property
    def weights(self) -> str:
        """Of all tensors."""
        return _of_json(self.tensors)

    @cached_property
    def config(self) -> str:
        return hashlib.sha256((self._path / "config.json").read_bytes()).hexdigest()

    @cached_property
    def tokenizer(self) -> str:
        """Of all files that say how text becomes tokens."""
        files = [self._path / name for name in _TOKENIZER_FILES]
        present = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}
        return _of_json(present)

    @cached_property
    def chat_template(self) -> str:
        return _of_json(self._template)


def _of_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
