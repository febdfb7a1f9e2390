"""Checks of single keywords: each gives the value as it is kept, or says what is allowed."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

INT32_MAX = 2**31 - 1


def bad(name: str, value: Any, allowed: str) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    return ValueError(f"{name}={shown} is not allowed; allowed: {allowed}")


def as_int(value: Any) -> int | None:
    """A plain int from an int or a numpy integer; None for anything else, bool included."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def as_float(value: Any) -> float | None:
    """A finite float from a real number of Python or numpy; None for anything else."""
    if isinstance(value, bool | str | bytes | complex) or type(value).__name__ == "bool_":
        return None
    if not hasattr(type(value), "__float__") and not hasattr(type(value), "__index__"):
        return None
    if getattr(value, "ndim", 0):  # an array is not a number, even of one element
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def integer(low: int, high: int, allowed: str = "") -> Callable[[str, Any], int]:
    text = allowed or (f"an int from {low} to {high}" if high < INT32_MAX else f"an int ≥ {low}")

    def check(name: str, value: Any) -> int:
        number = as_int(value)
        if number is None or not low <= number <= high:
            raise bad(name, value, text)
        return number

    return check


def real(test: Callable[[float], bool], allowed: str) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        number = as_float(value)
        if number is None or not test(number):
            raise bad(name, value, allowed)
        return number

    return check


def instance_of(kind: type, allowed: str) -> Callable[[str, Any], Any]:
    def check(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise bad(name, value, allowed)
        return value

    return check


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):
        raise bad(name, value, "True or False")
    return bool(value)


def top_k(name: str, value: Any) -> int:
    allowed = "an int ≥ 1, or 0 (or -1) to keep every token"
    return max(0, integer(-1, INT32_MAX, allowed)(name, value))


def temperature(name: str, value: Any) -> float:
    check = real(lambda x: 0.0 <= x <= 100.0, "a number from 0 (greedy) to 100")
    number = check(name, value)
    # Below this every probability but the largest vanishes in float32: greedy, said plainly.
    return number if number >= 1e-5 else 0.0


def stop(name: str, value: Any) -> tuple[str, ...]:
    allowed = "a non-empty string or a list of them"
    if isinstance(value, str):
        value = [value]
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise bad(name, value, allowed)
    stops = tuple(value)
    for item in stops:
        if not isinstance(item, str) or not item:
            raise bad(name, list(stops), allowed)
    return tuple(dict.fromkeys(stops))


def _items(name: str, value: Any, allowed: str) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise bad(name, value, allowed)
    return list(value)


def token_id(name: str, value: Any) -> int:
    return integer(0, INT32_MAX, "a token id (an int ≥ 0)")(name, value)


def token_ids(name: str, value: Any) -> tuple[int, ...]:
    allowed = "a list of token ids (ints ≥ 0)"
    check = integer(0, INT32_MAX, allowed)
    if isinstance(value, range) and value:  # ids of many thousands of codes: its ends will do
        for end in (value[0], value[-1]):
            check(name, end)
        return tuple(value)
    return tuple(dict.fromkeys(check(name, item) for item in _items(name, value, allowed)))


def one_or_more_ids(name: str, value: Any) -> tuple[int, ...]:
    return token_ids(name, [value] if as_int(value) is not None else value)


def bad_words_ids(name: str, value: Any) -> tuple[tuple[int, ...], ...]:
    allowed = "a list of non-empty lists of token ids"
    words = []
    for word in _items(name, value, allowed):
        ids = tuple(integer(0, INT32_MAX, allowed)(name, i) for i in _items(name, word, allowed))
        if not ids:
            raise bad(name, value, allowed)
        words.append(ids)
    return tuple(dict.fromkeys(words))


def forced_tokens(name: str, value: Any) -> tuple[tuple[int, int], ...]:
    allowed = "a list of pairs (place in the output, token id), a place once; 0 is the first"
    pairs = {}
    for item in _items(name, value, allowed):
        pair = [integer(0, INT32_MAX, allowed)(name, i) for i in _items(name, item, allowed)]
        if len(pair) != 2 or pairs.get(pair[0], pair[1]) != pair[1]:
            raise bad(name, value, allowed)
        pairs[pair[0]] = pair[1]
    return tuple(pairs.items())


def sequence_breakers(name: str, value: Any) -> tuple[str | int, ...]:
    allowed = "a list of non-empty strings or token ids"
    breakers: list[str | int] = []
    for item in _items(name, value, allowed):
        if isinstance(item, str) and item:
            breakers.append(item)
        else:
            breakers.append(integer(0, INT32_MAX, allowed)(name, item))
    return tuple(dict.fromkeys(breakers))


def logit_bias(name: str, value: Any) -> dict[int, float]:
    allowed = "a dict of token id (int ≥ 0) to a finite number"
    if not isinstance(value, Mapping):
        raise bad(name, value, allowed)
    bias = {}
    for key, amount in value.items():
        token_id, number = as_int(key), as_float(amount)
        if token_id is None or not 0 <= token_id <= INT32_MAX or number is None:
            raise bad(name, {key: amount}, allowed)
        bias[token_id] = number
    return bias


def speculate(name: str, value: Any) -> bool | str:
    if isinstance(value, str) and value == "auto":
        return value
    try:
        return flag(name, value)
    except ValueError:
        raise bad(name, value, "True, False or 'auto'") from None


def early_stopping(name: str, value: Any) -> bool | str:
    if isinstance(value, str) and value == "never":
        return value
    try:
        return flag(name, value)
    except ValueError:
        raise bad(name, value, "False, True or 'never'") from None


def negative_prompt(name: str, value: Any) -> str | tuple[int, ...]:
    if isinstance(value, str):
        return value
    allowed = "None, a str or a list of token ids"
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise bad(name, value, allowed)
    return tuple(integer(0, INT32_MAX, allowed)(name, token) for token in value)


def required(name: str, value: Any) -> tuple[str | tuple[int, ...], ...]:
    allowed = "a list of phrases, each a non-empty string or list of token ids"
    if isinstance(value, str):
        value = [value]
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise bad(name, value, allowed)
    phrases: list[str | tuple[int, ...]] = []
    for phrase in value:
        if not isinstance(phrase, str):
            if isinstance(phrase, bytes | Mapping) or not isinstance(phrase, Iterable):
                raise bad(name, value, allowed)
            phrase = tuple(as_int(token) for token in phrase)
            if any(token is None or not 0 <= token <= INT32_MAX for token in phrase):
                raise bad(name, value, allowed)
        if not phrase:
            raise bad(name, value, allowed)
        phrases.append(phrase)
    return tuple(dict.fromkeys(phrases))
