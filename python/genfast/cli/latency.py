"""`genfast bench --latency`: how long people wait, beside what they are told to expect."""

from __future__ import annotations

import random
import statistics
from typing import Any

CONTEXTS = (128, 2048, 8192)
NEW_TOKENS = 100
# What is commonly said of generation: an answer below 0.1 s feels instant, and 100 tokens take
# about a second.
COMMON = {"ttft_s": 0.1, "total_s": 1.0}


def measure_latency(model: Any, repeat: int) -> list[dict[str, Any]]:
    """For each context that the model has room for: medians with a new prompt, and with one whose
    keys and values are cached."""
    draw, rows = random.Random(1), []
    new = min(NEW_TOKENS, model.context_length // 2)
    room = model.context_length - new
    for context in sorted({min(each, room) for each in CONTEXTS}):
        times: dict[str, list[Any]] = {"new": [], "cached": []}
        for index in range(repeat + 1):
            ids = [draw.randrange(model.vocab_size) for _ in range(context)]
            for kind in times:  # the second time the prompt is in the cache
                timings = _timings(model, ids, new)
                if index:  # the first run warms up
                    times[kind].append(timings)
        rows.append({"context": context, "new_tokens": new} | {k: _of(v) for k, v in times.items()})
    return rows


def _timings(model: Any, ids: list[int], new: int) -> Any:
    # Without speculation: noise repeats itself, and would be guessed better than a text is.
    out = model.generate(ids, max_tokens=new, temperature=0, ignore_eos=True, speculate=False)
    if len(out.token_ids) != new:
        raise RuntimeError(f"asked for {new} tokens, got {len(out.token_ids)}")
    return out.timings


def _of(timings: list[Any]) -> dict[str, float]:
    return {
        "ttft_s": statistics.median(t.ttft_s for t in timings),
        "total_s": statistics.median(t.ttft_s + t.decode_s for t in timings),
    }


def latency_lines(rows: list[dict[str, Any]]) -> list[str]:
    new = rows[0]["new_tokens"]
    lines = [
        f"latency           {'first token':^21} {f'{new} tokens':^21}",
        f"  context         {'new':>10} {'cached':>10} {'new':>10} {'cached':>10}",
    ]
    for row in rows:
        cells = [f"{1e3 * row[kind][name]:.1f} ms" for name in COMMON for kind in ("new", "cached")]
        lines.append(f"  {row['context']:>6} tokens   " + " ".join(f"{c:>10}" for c in cells))
    common = [f"{1e3 * COMMON[name]:.0f} ms" for name in COMMON]
    return [*lines, f"  commonly said   {common[0]:>21} {common[1]:>21}"]
