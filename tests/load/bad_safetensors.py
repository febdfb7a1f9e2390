"""Damage to the safetensors file: its bytes, its header, the header's entries."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from good_directory import FILE, NORM
from spoil import Cases

CASES = Cases()


def split(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a good file."""
    n = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + n]), raw[8 + n :]


def join(header: bytes, data: bytes, length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def raw(name: str, change: Callable[[bytes], bytes], words: list[str] | None) -> None:
    """Damage to the file's bytes."""

    def spoil(directory: Path) -> None:
        file = directory / FILE
        file.write_bytes(change(file.read_bytes()))

    CASES.add(f"file: {name}", spoil, None if words is None else [FILE, *words])


def header(name: str, change: Callable[[dict], Any], words: list[str]) -> None:
    """Damage to the header as JSON; `change` edits it or returns another value for it."""

    def rebuild(old: bytes) -> bytes:
        value, data = split(old)
        changed = change(value)
        text = changed if isinstance(changed, bytes) else json.dumps(changed or value).encode()
        return join(text, data)

    raw(f"header: {name}", rebuild, words)


def entry(name: str, words: list[str], **fields: Any) -> None:
    """Damage to the header's entry of one tensor; a field given as ... is taken away."""

    def change(value: dict) -> None:
        value[NORM] |= fields
        for field in [f for f, v in fields.items() if v is ...]:
            del value[NORM][field]

    header(f"entry: {name}", change, [NORM, *words])


def set_entry(value: dict, found: Any) -> None:
    value[NORM] = found


def shifted(value: dict, name: str, begin: int, end: int) -> None:
    offsets = value[name]["data_offsets"]
    value[name]["data_offsets"] = [offsets[0] + begin, offsets[1] + end]


for n in (0, 1, 7, 8, 9):
    raw(f"cut to {n} bytes", lambda b, n=n: b[:n], ["bytes" if n < 8 else "header length"])
for part in (0.1, 0.5, 0.9):
    raw(f"cut to {part:.0%}", lambda b, p=part: b[: int(len(b) * p)], ["is the download complete"])
raw("cut by one byte", lambda b: b[:-1], ["data_offsets", "is the download complete"])
raw("one byte more", lambda b: b + b"\0", ["1 bytes after"])
raw("a page more", lambda b: b + b"\0" * 4096, ["4096 bytes after"])
raw("zeros", lambda b: b"\0" * len(b), ["header begins with"])
raw("ones", lambda b: b"\xff" * len(b), ["header length", "not a safetensors file?"])
raw("text", lambda b: b"This is not the file you are looking for.", ["header length"])
raw("git lfs pointer", lambda b: b"version https://git-lfs.github.com/spec/v1\n", ["header length"])
raw("html", lambda b: b"<!DOCTYPE html><html>Too many requests</html>", ["header length"])
raw("pickle", lambda b: b"\x80\x02}q\x00." * 20, ["header length"])
raw("zip", lambda b: b"PK\x03\x04" + bytes(60), ["header"])
for n in (2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1, 100_000_001):
    raw(f"header length {n}", lambda b, n=n: join(b"", b[8:], n), ["header length", str(n)])
raw(
    "header length + 1", lambda b: join(b"", b[8:], int.from_bytes(b[:8], "little") + 1), ["header"]
)
raw("header length - 1", lambda b: join(b"", b[8:], int.from_bytes(b[:8], "little") - 1), [])
raw("header length 0", lambda b: join(b"", b[8:], 0), ["header begins with"])
raw("header length to the end", lambda b: join(b"", b[8:], len(b) - 8), ["header"])
raw("header length past the end", lambda b: join(b"", b[8:], len(b) - 7), ["header length"])

header("empty object", lambda h: b"{}", ["bytes after the header"])
header("a list", lambda h: b"[]", ["header begins with"])
header("a string", lambda h: b'"x"', ["header begins with"])
header("null", lambda h: b"null", ["header begins with"])
header("a blank first", lambda h: b" {}", ["header begins with"])
header("a byte order mark", lambda h: b"\xef\xbb\xbf{}", ["header begins with"])
header("not UTF-8", lambda h: b'{"\xff\xfe": 1}', ["not UTF-8"])
header("a surrogate in UTF-8", lambda h: b'{"\xed\xa0\x80": 1}', ["not UTF-8"])
header("cut", lambda h: json.dumps(h).encode()[:-20], ["not JSON"])
header("single quotes", lambda h: b"{'a': 1}", ["not JSON"])
header("two objects", lambda h: b"{} {}", ["not JSON"])
header("trailing comma", lambda h: b'{"__metadata__": {},}', ["not JSON"])
header("NUL bytes after", lambda h: json.dumps(h).encode() + b"\0" * 8, ["not JSON"])
header("nested deeply", lambda h: b'{"a":' * 100_000, ["nested"])
header("lists nested deeply", lambda h: b'{"a":' + b"[" * 1_000_000, ["nested"])
header("NaN", lambda h: b'{"a": NaN}', ["NaN"])
header("Infinity", lambda h: b'{"a": -Infinity}', ["-Infinity"])
header("5,000 digits", lambda h: b'{"a": ' + b"9" * 5000 + b"}", ["header"])
header(
    "a name twice", lambda h: json.dumps(h)[:-1].encode() + b', "lm_head.weight": {}}', ["twice"]
)
header(
    "a field twice",
    lambda h: json.dumps(h).replace('"dtype"', '"shape": [], "dtype"', 1).encode(),
    ["twice"],
)
header("metadata is a list", lambda h: h | {"__metadata__": []}, ["__metadata__"])
header("metadata holds a number", lambda h: h | {"__metadata__": {"a": 1}}, ["__metadata__"])
for found in (None, 1, "F32", [], True, [1, 2]):
    header(f"entry is {json.dumps(found)}", lambda h, f=found: set_entry(h, f), [NORM, "entry"])

entry("no dtype", ["dtype"], dtype=...)
entry("no shape", ["shape"], shape=...)
entry("no data_offsets", ["data_offsets"], data_offsets=...)
for found in (None, 1, [], {}, True):
    entry(f"dtype is {json.dumps(found)}", ["dtype"], dtype=found)
for found in ("I32", "F8_E4M3", "BOOL", "F16", "F64", "F4"):
    # The sizes differ from F32's, but for I32, which is refused when asked for.
    entry(f"dtype is {found}", [found], dtype=found)
for found in ("", "f32", "FLOAT", "F32 ", "\0", "É" * 1000):
    entry(f"dtype is {found[:9]!r}", ["dtype"], dtype=found)
for found in (None, 16, "16", {}, [16.0], ["16"], [None], [True] * 4, [[16]], [-16], [-4, -4]):
    entry(f"shape is {json.dumps(found)}", ["shape"], shape=found)
for found in ([2**31], [2**32], [2**48], [2**63], [2**64], [10**30], [2**40, 2**40], [2**32] * 2):
    entry(f"shape is {json.dumps(found)}", [], shape=found)
entry("shape wraps to 16 in 64 bits", [], shape=[2**48, 2**16, 2**4, 16])
entry("shape has 17 dimensions", ["shape"], shape=[1] * 16 + [16])
entry("shape of 10,000 dimensions", ["shape"], shape=[1] * 10_000)
entry("shape is other", ["data_offsets", "shape [15]"], shape=[15])
entry("shape is split", ["shape [4, 4]", "[16]"], shape=[4, 4])
entry("shape is empty", ["data_offsets"], shape=[])
entry("shape has a zero", ["data_offsets"], shape=[16, 0])
for found in (None, 0, "0", {}, [], [0], [0, 64, 128], [0.0, 64.0], ["0", "64"], [None, 64]):
    entry(f"data_offsets is {json.dumps(found)}", ["data_offsets"], data_offsets=found)
for found in (
    [False, True],
    [-64, 0],
    [64, 0],
    [0, 2**63],
    [2**64 - 64, 2**64],
    [2**70, 2**70 + 64],
):
    entry(f"data_offsets is {json.dumps(found)}", ["data_offsets"], data_offsets=found)
entry("data_offsets in the first tensor", ["overlaps"], data_offsets=[0, 64])
header("shifted by 4", lambda h: shifted(h, NORM, 4, 4), ["gap"])
header("shifted by -4", lambda h: shifted(h, NORM, -4, -4), ["overlaps"])
header("one larger", lambda h: shifted(h, NORM, 0, 4), [NORM, "data_offsets"])
header("one smaller", lambda h: shifted(h, NORM, 4, 0), [NORM, "data_offsets"])
header("past the end", lambda h: shifted(h, "lm_head.weight", 64, 64), ["lm_head.weight"])
header("a tensor gone", lambda h: h.pop(NORM) and None, ["gap"])
header("the last tensor gone", lambda h: h.pop("lm_head.weight") and None, ["bytes after"])
header(
    "two share their bytes",
    lambda h: h | {"copy": h[NORM]},
    ["overlaps"],
)
header(
    "two swapped",
    lambda h: h | {NORM: h["lm_head.weight"], "lm_head.weight": h[NORM]},
    ["shape", "expected"],
)


def renamed(old: str, new: str) -> Callable[[dict], dict]:
    return lambda h: {new if k == old else k: v for k, v in h.items()}


for name in (NORM, "lm_head.weight", "model.layers.1.mlp.up_proj.weight"):
    header(f"{name} renamed", renamed(name, name + "s"), [name, "missing", "nearest"])
header("a name of 100,000 letters", renamed(NORM, "x" * 100_000), [NORM, "missing"])
header("a name with NUL", renamed(NORM, NORM + "\0"), [NORM, "missing"])
header("an empty name", renamed(NORM, ""), [NORM, "missing"])
