"""A generation that its deadline ends, however fast the machine is."""

from __future__ import annotations

import contextlib

import genfast


def cut_short(model, prompt):
    """Of up to 1,000 tokens, with some of them."""
    for attempt in range(60):
        deadline_ms = 200 * 0.75 ** (attempt % 20)
        with contextlib.suppress(genfast.DeadlineError):  # expected to be too short for one token
            out = model.generate(prompt, max_tokens=1000, ignore_eos=True, deadline_ms=deadline_ms)
            if out.finish_reason == "deadline" and out.token_ids:
                return out
    raise AssertionError("no deadline came between the first and the last token")
