"""Parts of responses that completions and chats share."""

from __future__ import annotations

import secrets
from typing import Any

from genfast.results import Usage


def new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def finish_of(reason: str) -> dict[str, Any]:
    """OpenAI knows "stop" and "length": what else ends a generation cuts it short too, and
    `stop_reason` says what it was."""
    if reason in ("stop", "length"):
        return {"finish_reason": reason}
    return {"finish_reason": "length", "stop_reason": reason}
