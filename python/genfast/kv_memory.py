"""How much memory the keys and values of all requests get."""

from __future__ import annotations

import os

from genfast.errors import LoadError
from genfast.kv_file import PAGE_TOKENS

_SHARE = 0.3  # of the free memory, unless kv_cache_bytes says otherwise


def kv_pages(page_bytes: int, context: int, sequences: int, budget: int | None) -> int:
    """Pages of the KV cache: what fits the budget, at most what all sequences could fill."""
    if budget is None:
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
        budget = int(free * _SHARE)
    wanted = -(-context // PAGE_TOKENS) * sequences
    pages = min(wanted, budget // max(1, page_bytes))
    if pages < 1:
        raise LoadError(
            f"a KV cache of {budget} bytes holds no page of {page_bytes}; raise kv_cache_bytes"
        )
    return int(pages)
