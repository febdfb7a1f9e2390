"""How much memory the keys and values of all requests get, and their recurrent state."""

from __future__ import annotations

import os

from genfast.errors import LoadError
from genfast.kv_file import PAGE_TOKENS

_SHARE = 0.3  # of the free memory, unless kv_cache_bytes says otherwise
DEVICE_SHARE = 0.8  # of what the weights leave of a GPU's, which nothing else needs much of
_STATES = 4  # slots for each request that may run: its own, one while it parts, and snapshots
_MOST_EMPTY_PAGES = 1 << 16  # of models without attention: they only count tokens


def kv_pages(page_bytes: int, context: int, sequences: int, budget: int) -> int:
    """Pages of the KV cache: what fits the budget, at most what all sequences could fill."""
    wanted = -(-context // PAGE_TOKENS) * sequences
    fit = budget // page_bytes if page_bytes else _MOST_EMPTY_PAGES
    pages = min(wanted, fit)
    if pages < 1:
        raise LoadError(
            f"a KV cache of {budget} bytes holds no page of {page_bytes}; raise kv_cache_bytes"
        )
    return int(pages)


def state_slots(state_bytes: int, page_bytes: int, sequences: int, budget: int) -> int:
    """Slots for recurrent state, of which a request holds one or, for a step, two. Where there is
    attention too, they get half of the budget at most. None without such state."""
    if not state_bytes:
        return 0
    slots = min(_STATES * sequences, (budget // 2 if page_bytes else budget) // state_bytes)
    if slots < 2:
        raise LoadError(
            f"a KV cache of {budget} bytes holds no two recurrent states of {state_bytes}; raise "
            "kv_cache_bytes"
        )
    return int(slots)


def budget_bytes(given: int | None) -> int:
    """kv_cache_bytes, else a share of what is free."""
    if given is not None:
        return given
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") * _SHARE)
