"""How the next token is chosen: every keyword of `generate`, validated here and nowhere else."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from genfast.errors import LoadError

DEFAULT_MAX_TOKENS = 128
MAX_LOGPROBS = 100
MAX_N = 128
_INT32_MAX = 2**31 - 1


class NotSupportedYet(ValueError, NotImplementedError):
    """A keyword of the public face that this version does not carry out yet."""


@dataclass(frozen=True)
class Sampling:
    """Settings of one request; made by `Sampling.make`, which checks them.

    Order of use: logit_bias and penalties on the logits, then temperature, top_k, top_p, min_p.

    max_tokens: most tokens to generate, ≥ 1.
    temperature: 0 is greedy (then top_k, top_p, min_p, seed change nothing).
    top_k: keep the k most likely tokens; 0 keeps all.
    top_p: keep the most likely tokens until their probability reaches p, in (0, 1].
    min_p: drop tokens less likely than min_p times the likeliest, in [0, 1].
    seed: 0 … 2^64-1, or None for a fresh one each call.
    stop: strings that end the text and are left out of it.
    stop_token_ids: ids that end the generation, beside the model's own end tokens.
    ignore_eos: go on past the model's end tokens.
    min_tokens: no end token and no stop string before this many tokens.
    repetition_penalty: divides positive (multiplies negative) logits of tokens seen in prompt or
        output; 1 is off.
    presence_penalty, frequency_penalty: subtracted once, or per occurrence, from the logits of
        tokens generated so far; in [-2, 2].
    logit_bias: added to the logits of these ids.
    n: independent continuations of the prompt.
    logprobs: None for none, k ≥ 0 for the chosen token's and those of the k likeliest.
    priority: requests of a higher priority are computed first; 0 is usual.
    speculate: guess tokens from what the text repeats and verify several in a step, which gives
        the same tokens sooner; "auto" does so while it pays, True always.
    deadline_ms: milliseconds from now after which the request ends with what there is
        (finish_reason "deadline"); DeadlineError at once when not even the first token is
        expected by then.
    """

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    n: int = 1
    logprobs: int | None = None
    priority: int = 0
    speculate: bool | str = "auto"
    deadline_ms: float | None = None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0.0

    @staticmethod
    def make(
        defaults: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        vocab_size: int | None = None,
        source: str = "generation_config.json",
    ) -> Sampling:
        """Settings from a parsed generation_config.json and the caller's keywords.

        A keyword that is None counts as not given. Wrong keywords raise ValueError; wrong
        values in the file raise LoadError naming `source` and the field. `vocab_size` bounds
        the token ids of logit_bias and stop_token_ids.
        """
        values = _from_generation_config(defaults or {}, source)
        for name, value in (overrides or {}).items():
            if name not in _CHECKS:
                _refuse(name, value)
            elif value is not None:
                values[name] = _CHECKS[name](name, value)
        made = Sampling(**values)
        made._check_together(vocab_size)
        return made

    def _check_together(self, vocab_size: int | None) -> None:
        if self.min_tokens > self.max_tokens:
            raise ValueError(
                f"min_tokens={self.min_tokens} is more than max_tokens={self.max_tokens}"
            )
        for name, ids in (
            ("logit_bias", self.logit_bias),
            ("stop_token_ids", self.stop_token_ids),
        ):
            for token_id in ids:
                if vocab_size is not None and token_id >= vocab_size:
                    raise ValueError(
                        f"{name} names token {token_id}; allowed: ids from 0 to {vocab_size - 1}"
                    )


# --- one check a keyword ---------------------------------------------------------------------


def _bad(name: str, value: Any, allowed: str) -> ValueError:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "…"
    return ValueError(f"{name}={shown} is not allowed; allowed: {allowed}")


def _as_int(value: Any) -> int | None:
    """A plain int from an int or a numpy integer; None for anything else, bool included."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _as_float(value: Any) -> float | None:
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


def _integer(low: int, high: int, allowed: str = "") -> Callable[[str, Any], int]:
    text = allowed or (f"an int from {low} to {high}" if high < _INT32_MAX else f"an int ≥ {low}")

    def check(name: str, value: Any) -> int:
        number = _as_int(value)
        if number is None or not low <= number <= high:
            raise _bad(name, value, text)
        return number

    return check


def _real(test: Callable[[float], bool], allowed: str) -> Callable[[str, Any], float]:
    def check(name: str, value: Any) -> float:
        number = _as_float(value)
        if number is None or not test(number):
            raise _bad(name, value, allowed)
        return number

    return check


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool) and type(value).__name__ not in ("bool_", "bool"):
        raise _bad(name, value, "True or False")
    return bool(value)


def _top_k(name: str, value: Any) -> int:
    allowed = "an int ≥ 1, or 0 (or -1) to keep every token"
    return max(0, _integer(-1, _INT32_MAX, allowed)(name, value))


def _temperature(name: str, value: Any) -> float:
    check = _real(lambda x: 0.0 <= x <= 100.0, "a number from 0 (greedy) to 100")
    number = check(name, value)
    # Below this every probability but the largest vanishes in float32: greedy, said plainly.
    return number if number >= 1e-5 else 0.0


def _stop(name: str, value: Any) -> tuple[str, ...]:
    allowed = "a non-empty string or a list of them"
    if isinstance(value, str):
        value = [value]
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise _bad(name, value, allowed)
    stops = tuple(value)
    for stop in stops:
        if not isinstance(stop, str) or not stop:
            raise _bad(name, list(stops), allowed)
    return tuple(dict.fromkeys(stops))


def _stop_token_ids(name: str, value: Any) -> tuple[int, ...]:
    allowed = "a list of token ids (ints ≥ 0)"
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise _bad(name, value, allowed)
    ids = []
    for item in value:
        number = _as_int(item)
        if number is None or not 0 <= number <= _INT32_MAX:
            raise _bad(name, item, allowed)
        ids.append(number)
    return tuple(dict.fromkeys(ids))


def _logit_bias(name: str, value: Any) -> dict[int, float]:
    allowed = "a dict of token id (int ≥ 0) to a finite number"
    if not isinstance(value, Mapping):
        raise _bad(name, value, allowed)
    bias = {}
    for key, amount in value.items():
        token_id, number = _as_int(key), _as_float(amount)
        if token_id is None or not 0 <= token_id <= _INT32_MAX or number is None:
            raise _bad(name, {key: amount}, allowed)
        bias[token_id] = number
    return bias


def _speculate(name: str, value: Any) -> bool | str:
    if isinstance(value, str) and value == "auto":
        return value
    try:
        return _flag(name, value)
    except ValueError:
        raise _bad(name, value, "True, False or 'auto'") from None


_PENALTY = _real(lambda x: -2.0 <= x <= 2.0, "a number from -2 to 2")

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "max_tokens": _integer(1, _INT32_MAX),
    "temperature": _temperature,
    "top_k": _top_k,
    "top_p": _real(lambda x: 0.0 < x <= 1.0, "a number above 0, up to 1 (1 keeps every token)"),
    "min_p": _real(lambda x: 0.0 <= x <= 1.0, "a number from 0 (off) to 1"),
    "seed": _integer(0, 2**64 - 1, "None or an int from 0 to 2**64 - 1"),
    "stop": _stop,
    "stop_token_ids": _stop_token_ids,
    "ignore_eos": _flag,
    "min_tokens": _integer(0, _INT32_MAX),
    "repetition_penalty": _real(lambda x: 0.0 < x <= 100.0, "a number above 0, up to 100"),
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "logit_bias": _logit_bias,
    "n": _integer(1, MAX_N),
    "logprobs": _integer(0, MAX_LOGPROBS, f"None or an int from 0 to {MAX_LOGPROBS}"),
    "priority": _integer(-_INT32_MAX, _INT32_MAX, f"an int from {-_INT32_MAX} to {_INT32_MAX}"),
    "speculate": _speculate,
    "deadline_ms": _real(lambda x: x > 0.0, "None or a number above 0"),
}

assert set(_CHECKS) == {f.name for f in fields(Sampling)}

# Keywords of later work: name -> values that ask for nothing and so pass already.
_LATER: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "length_penalty": (1.0,),
    "json_schema": (),
    "regex": (),
    "grammar": (),
}

# What other libraries call the same thing.
_ALIASES = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "temp": "temperature",
    "repeat_penalty": "repetition_penalty",
    "stop_strings": "stop",
    "stop_sequences": "stop",
    "eos_token_id": "stop_token_ids",
    "num_return_sequences": "n",
    "min_new_tokens": "min_tokens",
    "best_of": "n",
    "top_logprobs": "logprobs",
    "random_seed": "seed",
    "do_sample": "temperature",
}


def _refuse(name: str, value: Any) -> None:
    """Raises for a keyword without a check, unless it asks for nothing."""
    if name in _LATER:
        harmless = _LATER[name]
        if value is None or any(type(value) is type(h) and value == h for h in harmless):
            return
        also = f"; allowed: {', '.join(map(repr, (None, *harmless)))}"
        raise NotSupportedYet(f"{name}={value!r:.60} is not supported yet{also}")
    known = [*_CHECKS, "draft", *_LATER]  # draft is a model, and no setting
    near = [_ALIASES[name]] if name in _ALIASES else difflib.get_close_matches(str(name), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
    raise ValueError(f"unknown keyword {name!r}{hint}")


# --- defaults of the model directory ---------------------------------------------------------

_FILE_FIELDS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def _from_generation_config(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The file's sampling fields under our names; greedy unless it says do_sample.

    A file that samples without naming a temperature means 1. Its length limits are not taken:
    they are about the model, and max_tokens has a documented default.
    """
    if not isinstance(config, Mapping):
        raise LoadError(f"{source}: found {type(config).__name__}, expected a JSON object")
    sample = config.get("do_sample")
    if sample is not None and not isinstance(sample, bool):
        raise LoadError(f"{source}: do_sample is {sample!r:.60}, expected true or false")
    values: dict[str, Any] = {}
    for name in _FILE_FIELDS:
        value = config.get(name)
        if value is None:
            continue
        try:
            values[name] = _CHECKS[name](name, value)
        except ValueError as error:
            allowed = str(error).rpartition("allowed: ")[2]
            raise LoadError(f"{source}: {name} is {value!r:.60}, expected {allowed}") from None
    values["temperature"] = values.get("temperature", 1.0) if sample else 0.0
    return values
