"""Rows to results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from genfast.batch.rows import Row
from genfast.results import Generation

_AT_ONCE = 64  # as many as an engine runs together


def answer(model: Any, row: Row, options: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a row: what the model says, or what is wrong with the row.

    options: keywords of `generate` for rows that do not give them. The seed, where nobody gives
    one, is the row's number: the same rows have the same results.
    """
    head: dict[str, Any] = {"row": row.number, "digest": row.digest}
    if row.fields is None:
        return head | {"error": row.error}
    fields = dict(row.fields)
    if "id" in fields:
        head["id"] = fields.pop("id")
    try:
        return head | _result(_ask(model, {"seed": row.number, **options, **fields}))
    except Exception as error:
        return head | {"error": f"{type(error).__name__}: {error}"}


def _ask(model: Any, fields: dict[str, Any]) -> Generation:
    if ("prompt" in fields) == ("messages" in fields):
        raise ValueError("a row gives prompt, or messages")
    if "messages" in fields:
        return model.chat(fields.pop("messages"), **fields)
    prompt = fields.pop("prompt")
    result = model.generate(prompt, **fields)
    if not isinstance(result, Generation):
        raise ValueError("prompt is a list of prompts; a row asks for one")
    return result


def _result(made: Generation) -> dict[str, Any]:
    told = [_choice(choice) for choice in made.choices]
    more = {"choices": told} if len(told) > 1 else {}
    usage = {
        "prompt_tokens": made.usage.prompt_tokens,
        "completion_tokens": made.usage.completion_tokens,
    }
    return {**told[0], **more, "usage": usage}


def _choice(choice: Generation) -> dict[str, Any]:
    calls = [call.to_dict() for call in choice.tool_calls]
    return {
        "text": choice.text,
        "token_ids": list(choice.token_ids),
        "finish_reason": choice.finish_reason,
        **({"tool_calls": calls} if calls else {}),
    }


def answers(
    model: Any, rows: Iterable[Row], options: Mapping[str, Any], at_once: int = _AT_ONCE
) -> Iterator[dict[str, Any]]:
    """Results in the order in which they are ready. Rows are read as they are needed."""
    pool = ThreadPoolExecutor(at_once, "genfast-batch")
    pending: set[Future[dict[str, Any]]] = set()
    try:
        for row in rows:
            pending.add(pool.submit(answer, model, row, options))
            if len(pending) >= 2 * at_once:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        # What runs still ends when the model is closed, and nobody takes its results any more.
        pool.shutdown(wait=False, cancel_futures=True)
