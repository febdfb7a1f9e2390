"""Latent attention, alone, on numpy arrays; part of `genfast.ops`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genfast import _core


def latent_attention(
    q,
    turned,
    rows,
    scale: float,
    *,
    past=None,
    kv_dtype: str = "float32",
    window: int = 0,
    sinks: int = 0,
    chunk: int = 0,
    pages: Sequence[int] | None = None,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """Causal attention of one sequence whose heads all read the same row a token, which is key and
    value at once, through a paged cache made for the call. DeepSeek-AI, 2024 (arXiv 2405.04434).

    A row is k [P], rotated, then c [R], R + P at most 640. q [T, H, R] and turned [T, H, P]
    float32: what meets c and what meets k; rows [T, P + R], past [S, P + R]: those before them.
    Scores are (q · c + turned · k) · scale, values are c. kv_dtype: "float32", "bfloat16", "int8"
    or "fp8" (two scales a token: of k and of c). window, sinks, chunk, pages: as in `attention`;
    the last two and threads change no bit of the result.

    → [T, H, R] float32.
    """
    q, turned, rows = (np.ascontiguousarray(x, np.float32) for x in (q, turned, rows))
    if q.ndim != 3 or turned.ndim != 3 or rows.ndim != 2 or not len(q) == len(turned) == len(rows):
        raise ValueError(
            "q must have shape [T, H, R], turned [T, H, P], rows [T, P + R], found "
            f"{list(q.shape)}, {list(turned.shape)} and {list(rows.shape)}"
        )
    (T, H, R), P = q.shape, turned.shape[2]
    if chunk < 0:
        raise ValueError(f"chunk={chunk} must be 0 (all at once) or positive")
    before = 0 if past is None else len(past)
    pages = list(range((before + T + 31) // 32) if pages is None else pages)
    if not pages or min(pages) < 0:
        raise ValueError(f"pages={pages} must list at least one page, none negative")
    cache = _core.ops.KvCache.latent(kv_dtype, R, P, max(pages) + 1)
    if before:
        cache.append_rows(past, pages)
    out = np.empty((T, H, R), np.float32)
    for row in range(0, T, chunk or max(T, 1)):
        part = slice(row, row + chunk if chunk else T)
        now = len(rows[part])
        step = cache.latent_attention(
            q[part].reshape(now, -1),
            turned[part].reshape(now, -1),
            rows[part],
            [(0, now, before + row, pages)],
            scale,
            window,
            sinks,
            isa=isa,
            threads=threads,
        )
        out[part] = step.reshape(now, H, R)
    return out
