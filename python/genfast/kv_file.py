"""Keys and values of a prompt in a file: a prefix that a later process need not compute again.

A safetensors file: `tokens` int32 [T], `pages` uint8 [T / 32, bytes of a page in all layers],
`state` uint8 [bytes of the recurrent state after them], and in its metadata everything that the
bits depend on. A file of another model, format, instruction set or version is refused.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from genfast.atomic_file import written_whole
from genfast.errors import LoadError

if TYPE_CHECKING:
    from genfast.model import Model

_LAYOUT = (
    "2"  # of pages, see csrc/kernels/attention/kv_layout.h, and state: raised when that changes
)
PAGE_TOKENS = 32


def _identity(model: Model) -> dict[str, str]:
    import genfast

    # Where adapters lie does not matter: what they hold is part of the weights' fingerprint.
    settings = {name: value for name, value in model.settings.items() if name != "adapters"}
    return {
        "layout": _LAYOUT,
        "genfast": genfast.__version__,
        "isa": model.isa,
        "weights": model.fingerprint.weights,
        "config": model.fingerprint.config,
        "tokenizer": model.fingerprint.tokenizer,
        "settings": json.dumps(settings, sort_keys=True),
    }


def save(
    path: str | os.PathLike,
    model: Model,
    tokens: list[int],
    known: tuple[int, np.ndarray, np.ndarray],
) -> int:
    """Writes what is known of the first tokens: how many these are, their pages, and the state
    after them. Returns how many. Atomic: a new file or the old."""
    from safetensors.numpy import save as to_bytes

    count, pages, state = known
    arrays = {
        "tokens": np.asarray(tokens[:count], np.int32),
        "pages": pages.reshape(count // PAGE_TOKENS, model.kv_page_bytes),
        "state": state,
    }
    with written_whole(Path(path)) as out:
        out.write(to_bytes(arrays, metadata=_identity(model)))
    return count


def load(path: str | os.PathLike, model: Model) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Tokens, pages and state of a file that `save` wrote for this very model; LoadError
    otherwise."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            for name, ours in _identity(model).items():
                if metadata.get(name) != ours:
                    raise LoadError(
                        f"{path}: {name}: found {metadata.get(name)!r}, expected {ours!r}; keys "
                        "and values can only be loaded into the model that made them"
                    )
            tokens, pages, state = (file.get_tensor(n) for n in ("tokens", "pages", "state"))
    except (OSError, SafetensorError) as error:
        raise LoadError(f"{path}: cannot be read as keys and values: {error}") from None
    expected = (tokens.size // PAGE_TOKENS, model.kv_page_bytes)
    inside = tokens.size and tokens.min() >= 0 and tokens.max() < model.vocab_size
    if (
        tokens.dtype != np.int32
        or pages.dtype != np.uint8
        or state.dtype != np.uint8
        or tokens.shape != (expected[0] * PAGE_TOKENS,)
        or pages.shape != expected
        or state.shape != (model.state_bytes,)
        or not inside
    ):
        raise LoadError(
            f"{path}: found tokens {tokens.shape}, pages {pages.shape} and state {state.shape}, "
            f"expected a page of {model.kv_page_bytes} bytes for each {PAGE_TOKENS} tokens of the "
            f"vocabulary, and a state of {model.state_bytes}"
        )
    return tokens.tolist(), pages, state
