"""A generation that its deadline ends, however fast the machine is."""

from __future__ import annotations


def cut_short(model, prompt):
    """Of up to 1,000 tokens, with some of them."""
    for deadline_ms in (32, 16, 8, 4, 2, 1):
        out = model.generate(prompt, max_tokens=1000, ignore_eos=True, deadline_ms=deadline_ms)
        if out.finish_reason == "deadline" and out.token_ids:
            return out
    raise AssertionError("no deadline came between the first and the last token")
