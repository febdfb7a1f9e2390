"""Reading the JSON files of a model directory, and taking typed, bounded fields out of them.

A model file's `Config.from_json(cfg)` reads like a table, one line a field:

    hidden = cfg.int("hidden_size", 1, 1 << 17)
    eps = cfg.number("rms_norm_eps", 0, 1, default=1e-6)
    tied = cfg.bool("tie_word_embeddings", default=False)

Every bound is checked here, before anything is allocated from the number; keys nobody asks for are
ignored, as configs carry many. A null counts as absent wherever the field has a default.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import LoadError

MAX_JSON_BYTES = 256 << 20  # the largest tokenizer.json published are around 35 MB
READ_QUANTISED = {("gpt_oss", "mxfp4"), ("deepseek_v3", "fp8")}
REQUIRED: Any = object()  # the default of a field that has none


def show(value: object, limit: int = 80) -> str:
    """`value` as JSON for a message, cut to `limit` characters."""
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):  # an integer of 5,000 digits, say
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def open_regular(path: Path) -> int:
    """A read-only descriptor of a regular file; LoadError for anything else.

    Opened without blocking and checked by descriptor, so that a FIFO cannot hang the load and the
    file that was checked is the file that is read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        kind = "a link to a file that does not exist" if path.is_symlink() else "no such file"
        raise LoadError(f"{path}: {kind}") from None
    except (OSError, ValueError) as e:  # ValueError: a NUL in the name
        raise LoadError(f"{path}: cannot be opened: {getattr(e, 'strerror', None) or e}") from e
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise LoadError(f"{path}: is {kind}; expected a file")
    return fd


def read_json(path: Path | str, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The parsed contents of a JSON file; LoadError when it is missing, too large or not JSON."""
    path = Path(path)
    with open(open_regular(path), "rb") as f:
        size = os.fstat(f.fileno()).st_size
        if size > max_bytes:
            raise LoadError(f"{path}: {size} bytes; expected a JSON file of at most {max_bytes}")
        try:
            raw = f.read()
        except OSError as e:
            raise LoadError(f"{path}: cannot be read: {e.strerror}") from e
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        raise LoadError(f"{path}: not UTF-8 text at byte {e.start}; expected JSON") from None
    except json.JSONDecodeError as e:
        raise LoadError(f"{path}: not JSON: {e.msg} at line {e.lineno} column {e.colno}") from None
    except RecursionError:
        raise LoadError(f"{path}: not usable JSON: nested too deeply") from None
    except ValueError as e:  # an integer longer than Python converts
        raise LoadError(f"{path}: not usable JSON: {e}") from None


def read_object(path: Path | str) -> dict[str, Any]:
    """`read_json` of a file that must hold an object."""
    value = read_json(path)
    if not isinstance(value, dict):
        raise LoadError(f"{path}: holds {show(value)}; expected a JSON object {{...}}")
    return value


def read_config(directory: Path | str) -> dict[str, Any]:
    """The directory's config.json: an object whose `model_type` is a string."""
    directory = Path(directory)
    if not directory.is_dir():
        problem = "is not a directory" if directory.exists() else "no such directory"
        raise LoadError(f"{directory}: {problem}; expected a Hugging Face model directory")
    path = directory / "config.json"
    if not path.exists() and (directory / "model_index.json").exists():
        raise LoadError(f"{directory}: no config.json but model_index.json: a diffusers pipeline")
    config = read_object(path)
    Fields(config, path).str("model_type")
    quantised = Fields(config, path).object("quantization_config", default=None)
    if quantised is not None:
        method = quantised.str("quant_method", default="unknown")
        if (config["model_type"], method) in READ_QUANTISED:
            return config
        raise LoadError(
            f"{path}: quantization_config.quant_method: found {show(method)}; genfast reads "
            "float32, float16 and bfloat16 weights and quantises them itself (quantize=): use the "
            "upload that is not quantised"
        )
    return config


class Fields:
    """A JSON object whose fields are taken with a type and bounds; a bad one is a LoadError.

    `file` and `prefix` (the dotted path to this object inside the file) go into the messages.
    Every method takes the field's name, a `default` (none: the field is required) and `alias`,
    other names for the same field, tried in order when the first is absent.
    """

    def __init__(self, values: dict[str, Any], file: Path | str, prefix: str = "") -> None:
        self.values = values
        self.file = Path(file)
        self.prefix = prefix

    def with_defaults(self, **defaults: Any) -> Fields:
        """The same with values for fields that are absent; a null is there."""
        return Fields({**defaults, **self.values}, self.file, self.prefix)

    def __contains__(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def int(
        self,
        name: str,
        low: int,
        high: int,
        default: Any = REQUIRED,
        alias: str | Sequence[str] = (),
    ) -> Any:
        """An integer in low..high; a float, even a whole one, is refused."""
        expected = f"an integer from {low} to {high}"
        name, value = self._take(name, default, alias, expected)
        if value is default:
            return value
        if type(value) is not int or not low <= value <= high:
            self.fail(name, expected)
        return value

    def number(
        self,
        name: str,
        low: float,
        high: float,
        default: Any = REQUIRED,
        alias: str | Sequence[str] = (),
    ) -> Any:
        """A finite number in low..high, as a float."""
        expected = f"a number from {low:g} to {high:g}"
        name, value = self._take(name, default, alias, expected)
        if value is default:
            return value
        if type(value) not in (int, float) or not low <= value <= high:  # NaN compares false
            self.fail(name, expected)
        return float(value)

    def bool(self, name: str, default: Any = REQUIRED, alias: str | Sequence[str] = ()) -> Any:
        """true or false; 0 and 1 are refused."""
        name, value = self._take(name, default, alias, "true or false")
        if value is not default and type(value) is not bool:
            self.fail(name, "true or false")
        return value

    def str(self, name: str, default: Any = REQUIRED, alias: str | Sequence[str] = ()) -> Any:
        """Any string."""
        name, value = self._take(name, default, alias, "a string")
        if value is not default and not isinstance(value, str):
            self.fail(name, "a string")
        return value

    def str_choice(
        self,
        name: str,
        choices: Iterable[str],
        default: Any = REQUIRED,
        alias: str | Sequence[str] = (),
    ) -> Any:
        """One of the strings `choices` (for a dict: one of its keys)."""
        choices = list(choices)
        expected = "one of " + ", ".join(choices)
        name, value = self._take(name, default, alias, expected)
        if value is not default and (not isinstance(value, str) or value not in choices):
            self.fail(name, expected)
        return value

    def ints(
        self,
        name: str,
        low: int,
        high: int,
        default: Any = REQUIRED,
        alias: str | Sequence[str] = (),
        most: int = 4096,
    ) -> Any:
        """One integer or a list of at most `most`, as a tuple: eos_token_id comes as either."""
        expected = f"an integer from {low} to {high}, or a list of up to {most} of them"
        name, value = self._take(name, default, alias, expected)
        if value is default:
            return value
        items = value if isinstance(value, list) else [value]
        if len(items) > most or any(type(i) is not int or not low <= i <= high for i in items):
            self.fail(name, expected)
        return tuple(items)

    def numbers(
        self,
        name: str,
        low: float,
        high: float,
        count: int,
        default: Any = REQUIRED,
        alias: str | Sequence[str] = (),
    ) -> Any:
        """A list of exactly `count` finite numbers, as a tuple of floats."""
        expected = f"a list of {count} numbers from {low:g} to {high:g}"
        name, value = self._take(name, default, alias, expected)
        if value is default:
            return value
        if not isinstance(value, list) or len(value) != count:
            self.fail(name, expected)
        if any(type(x) not in (int, float) or not low <= x <= high for x in value):
            self.fail(name, expected)
        return tuple(float(x) for x in value)

    def object(
        self, name: str, default: Any = REQUIRED, alias: str | Sequence[str] = ()
    ) -> Any:  # Fields | default
        """A nested object, as Fields whose messages name the whole path."""
        name, value = self._take(name, default, alias, "an object {...}")
        if value is default:
            return value
        if not isinstance(value, dict):
            self.fail(name, "an object {...}")
        return Fields(value, self.file, f"{self.prefix}{name}.")

    def fail(self, name: str, expected: str) -> Any:
        """Raise the LoadError for field `name`, for checks that span fields.

        if cfg.int("hidden_size", 1, 1 << 17) % heads:
            cfg.fail("hidden_size", f"a multiple of num_attention_heads = {heads}")
        """
        found = show(self.values[name]) if name in self.values else "nothing"
        raise LoadError(f"{self.file}: {self.prefix}{name}: found {found}, expected {expected}")

    def _take(
        self, name: str, default: Any, alias: str | Sequence[str], expected: str
    ) -> tuple[str, Any]:
        """The name that is present and its value; `default` itself when none is."""
        for key in (name, *((alias,) if isinstance(alias, str) else alias)):
            value = self.values.get(key)
            if value is not None:
                return key, value
        if default is REQUIRED:
            self.fail(name, expected)
        return name, default
