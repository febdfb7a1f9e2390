"""Over three hundred ways to spoil a small model directory, each with what its error must say.

`CASES` maps a name to (spoil, words): `spoil(directory)` changes a good directory in place; the
LoadError must hold every one of `words`. Without words (`None`) the damage may also be harmless, as
a flipped bit in a weight is: then the model must load and generate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tiny_model

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
    },
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
GENERATION = {"do_sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "eos_token_id": [1]}
LETTERS = "abcdefghijklmnopqrstuvwxyz .,!"
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {
            "id": i,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, content in enumerate(["<s>", "</s>"])
    ],
    "model": {
        "type": "BPE",
        "vocab": {"<s>": 0, "</s>": 1, **{c: i + 2 for i, c in enumerate(LETTERS)}},
        "merges": [],
    },
    "decoder": {"type": "Fuse"},
}
FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
NORM = "model.norm.weight"

Spoil = Callable[[Path], None]
CASES: dict[str, tuple[Spoil, list[str] | None]] = {}


def write_good(directory: Path, shards: int = 1) -> Path:
    """The directory that all the damage starts from."""
    tiny_model.write_model(directory, CONFIG, seed=3, shards=shards)
    (directory / "generation_config.json").write_text(json.dumps(GENERATION))
    (directory / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return directory


def case(name: str, spoil: Spoil, words: list[str] | None) -> None:
    assert name not in CASES, name
    CASES[name] = (spoil, words)


# --- the safetensors file ---------------------------------------------------------------------


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

    case(f"file: {name}", spoil, None if words is None else [FILE, *words])


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


# --- what stands in the directory -------------------------------------------------------------


def files(name: str, spoil: Spoil, words: list[str] | None) -> None:
    case(f"directory: {name}", spoil, words)


def replaced(name: str, make: Callable[[Path], None]) -> Spoil:
    def spoil(directory: Path) -> None:
        (directory / name).unlink()
        make(directory / name)

    return spoil


for name in (FILE, "config.json"):
    files(f"{name} is a directory", replaced(name, Path.mkdir), [name, "directory"])
    files(f"{name} is a FIFO", replaced(name, os.mkfifo), [name, "not a regular file"])
    files(f"{name} is empty", replaced(name, Path.touch), [name])
    files(f"{name} leads nowhere", replaced(name, lambda p: p.symlink_to("gone")), [name, "link"])
    files(f"{name} leads to itself", replaced(name, lambda p: p.symlink_to(p)), [name])
    files(f"{name} is a device", replaced(name, lambda p: p.symlink_to("/dev/zero")), [name])
files("no config", lambda d: (d / "config.json").unlink(), ["config.json", "no such file"])
files("no weights", lambda d: (d / FILE).unlink(), ["no safetensors file"])
files(
    "pickled weights",
    lambda d: (d / FILE).rename(d / "pytorch_model.bin"),
    ["pytorch_model.bin", "convert", "save_pretrained"],
)


def two_files(directory: Path) -> None:
    (directory / "a.safetensors").write_bytes((directory / FILE).read_bytes())
    (directory / FILE).rename(directory / "b.safetensors")


files("two files and no index", two_files, ["2 files", "a.safetensors"])


def index(name: str, change: Callable[[dict], Any], words: list[str]) -> None:
    """Damage to the index of a sharded directory."""

    def spoil(directory: Path) -> None:
        (directory / FILE).unlink()
        write_good(directory, shards=2)
        file = directory / INDEX
        value = json.loads(file.read_text())
        changed = change(value)
        file.write_bytes(
            changed if isinstance(changed, bytes) else json.dumps(changed or value).encode()
        )

    case(f"index: {name}", spoil, words)


def mapped(name: str, found: Any) -> Callable[[dict], None]:
    def change(value: dict) -> None:
        value["weight_map"][name] = found

    return change


index("empty", lambda v: b"\n", [INDEX, "not JSON"])
index("cut", lambda v: json.dumps(v).encode()[:-9], [INDEX, "not JSON"])
index("not UTF-8", lambda v: b'{"\xff": 1}', [INDEX, "UTF-8"])
index("a list", lambda v: b"[]", [INDEX, "object"])
index("nested deeply", lambda v: b"[" * 1_000_000, [INDEX, "nested"])
index("no weight_map", lambda v: {"metadata": {}}, [INDEX, "weight_map"])
for found in (None, [], "x", 3, {}):
    index(
        f"weight_map is {json.dumps(found)}", lambda v, f=found: {"weight_map": f}, ["weight_map"]
    )
for found in (None, 1, [], {}, "", ".", "..", "../model.safetensors", "/etc/passwd", "a/b", "a\\b"):
    index(f"shard is {json.dumps(found)}", mapped(NORM, found), [INDEX, "weight_map", NORM])
index("shard has NUL", mapped(NORM, "a\0b"), [INDEX, "weight_map"])
index("shard is absent", mapped(NORM, "model-00003-of-00003.safetensors"), ["no such file", NORM])
index("shard name is too long", mapped(NORM, "a" * 5000), ["weight_map"])
index("shard is half a surrogate pair", mapped(NORM, "\ud800"), ["weight_map"])
index("shard is no safetensors", mapped(NORM, "config.json"), ["config.json", "header"])
index("a tensor no shard has", mapped("model.extra", "model-00001-of-00002.safetensors"), ["extra"])
index("a tensor left out", lambda v: v["weight_map"].pop(NORM) and None, [NORM, "missing"])


def in_other_shard(value: dict) -> None:
    shards = sorted(set(value["weight_map"].values()))
    here = value["weight_map"][NORM]
    value["weight_map"][NORM] = next(s for s in shards if s != here)


index("a tensor in another shard", in_other_shard, [NORM, "missing"])


# --- the JSON files ---------------------------------------------------------------------------


def in_json(file: str, name: str, change: Callable[[dict], Any], words: list[str] | None) -> None:
    def spoil(directory: Path) -> None:
        path = directory / file
        value = json.loads(path.read_text())
        changed = change(value)
        path.write_bytes(
            changed if isinstance(changed, bytes) else json.dumps(changed or value).encode()
        )

    case(f"{file}: {name}", spoil, None if words is None else [file, *words])


def config(name: str, words: list[str] | None, **fields: Any) -> None:
    in_json("config.json", name, lambda v: v | fields, words)


for text in (b"\n", b"{", b"[]", b"null", b'"llama"', b"3", b"{}", b'{"model_type": "llama"'):
    in_json("config.json", f"is {text.decode().strip()!r}", lambda v, t=text: t, [])
    if text != b"{}":
        in_json("generation_config.json", f"is {text.decode().strip()!r}", lambda v, t=text: t, [])
    in_json("tokenizer.json", f"is {text.decode().strip()!r}", lambda v, t=text: t, [])
for file in ("config.json", "generation_config.json", "tokenizer.json"):
    in_json(file, "not UTF-8", lambda v: b'{"model_type": "\xff"}', [])
    in_json(file, "nested deeply", lambda v: b"[" * 1_000_000, [])
    in_json(file, "5,000 digits", lambda v: b'{"a": ' + b"9" * 5000 + b"}", [])
for found in (None, 3, [], {}, True):
    config(f"model_type is {json.dumps(found)}", ["model_type"], model_type=found)
for found in (
    "",
    "t5",
    "Llama",
    "__init__",
    "os",
    "llama.os",
    "../llama",
    "genfast",
    "\0",
    "x" * 9999,
):
    words = ["model_type", "not supported", "gpt2, llama"]
    config(f"model_type is {found[:20]!r}", words, model_type=found)
in_json("config.json", "no model_type", lambda v: v.pop("model_type") and None, ["model_type"])

WRONG_INTEGERS = (-1, 10**12, 2**63, 10**400, 1.5, "64", True, [], {}, float("nan"), float("inf"))
for field in (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
):
    for found in (0, *WRONG_INTEGERS):
        config(f"{field} is {str(found)[:20]!r}", [field], **{field: found})
for field, found in (
    ("hidden_size", 32),
    ("hidden_size", 131072),
    ("intermediate_size", 25),
    ("vocab_size", 31),
    ("vocab_size", 1 << 20),
    ("num_hidden_layers", 3),
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 8),
):
    config(f"{field} is {found}", None, **{field: found})
config("3 heads for 2 of keys", ["num_key_value_heads"], num_attention_heads=3)
config("an odd head_dim", [], head_dim=5)
for found in (-1e-5, "1e-5", True, [], float("nan"), float("inf"), 10**400):
    config(f"rms_norm_eps is {str(found)[:20]!r}", ["rms_norm_eps"], rms_norm_eps=found)
for found in (0, -1, "10000", True, [], float("nan"), float("inf"), 10**400):
    config(f"rope_theta is {str(found)[:20]!r}", ["rope_theta"], rope_theta=found)
for found in (0, 1, "false", []):
    for field in ("tie_word_embeddings", "attention_bias"):
        config(f"{field} is {found!r}", [field], **{field: found})
for found in ("tanhh", 3, [], True):
    config(f"hidden_act is {found!r}", ["hidden_act"], hidden_act=found)
for found in ([], "yarn", 3, True):
    config(f"rope_scaling is {found!r}", ["rope_scaling"], rope_scaling=found)


def rope(name: str, words: list[str] | None, **fields: Any) -> None:
    scaling = CONFIG["rope_scaling"] | fields
    scaling = {k: v for k, v in scaling.items() if v is not ...}
    config(f"rope: {name}", words, rope_scaling=scaling)


for found in ("su", "", 3, [], True):
    rope(f"type is {found!r}", ["rope_type"], rope_type=found)
for found in (0, -4, "4", True, [], float("nan"), float("inf"), 10**400):
    rope(f"factor is {str(found)[:20]!r}", ["factor"], factor=found)
rope("no factor: it follows from the lengths", None, factor=...)
for found in (-1, "16", 1.5, [], 10**12):
    rope(
        f"original length is {found!r}",
        ["original_max_position_embeddings"],
        original_max_position_embeddings=found,
    )
for found in ("32", [], float("nan"), True):
    rope(f"beta_fast is {found!r}", ["beta_fast"], beta_fast=found)
rope("llama3 without its factors", ["freq_factor"], rope_type="llama3")
rope(
    "llama3 with equal factors",
    ["freq_factor"],
    rope_type="llama3",
    low_freq_factor=4,
    high_freq_factor=4,
)

for field, wrongs in {
    "eos_token_id": ("x", 1.5, [[]], {}, [None]),
    "temperature": ("hot", -1, [], float("nan")),
    "top_k": ("many", -5, 1.5, []),
    "top_p": ("x", -0.5, 7, []),
}.items():
    for found in wrongs:
        in_json(
            "generation_config.json",
            f"{field} is {found!r}",
            lambda v, f=field, x=found: v | {f: x},
            [field],
        )
for name, change in {
    "no model": lambda v: v.pop("model") and None,
    "vocab is a list": lambda v: v["model"].update(vocab=[]),
    "an id is text": lambda v: v["model"]["vocab"].update(a="2"),
    "an id is below zero": lambda v: v["model"]["vocab"].update(a=-2),
    "an id is huge": lambda v: v["model"]["vocab"].update(a=10**12),
    "an unknown kind": lambda v: v["model"].update(type="Abacus"),
    "merges of unknown tokens": lambda v: v["model"].update(merges=["x yz"]),
    "an unknown decoder": lambda v: v.update(decoder={"type": "Enigma"}),
}.items():
    in_json("tokenizer.json", name, change, [])


# --- damage by dice ---------------------------------------------------------------------------


def random_cases(rng: np.random.Generator, count: int) -> dict[str, tuple[Spoil, None]]:
    """Flipped bits, overwritten bytes, cuts, insertions and doublings in any of the files."""
    cases = {}
    names = [FILE, "config.json", "tokenizer.json", "generation_config.json"]
    for i in range(count):
        file = names[rng.choice(4, p=[0.55, 0.2, 0.15, 0.1])]
        kind = ["flip", "byte", "cut", "insert", "double", "digit"][rng.integers(6)]
        place, value, length = rng.random(), int(rng.integers(256)), int(rng.integers(1, 40))
        early = bool(rng.random() < 0.7)  # where headers are

        def spoil(directory: Path, file=file, kind=kind, at=place, v=value, n=length, e=early):
            path = directory / file
            data = bytearray(path.read_bytes())
            end = len(data)
            if e and file == FILE:
                end = 8 + int.from_bytes(data[:8], "little")
            i = int(at * end)
            if kind == "flip":
                data[i] ^= 1 << (v % 8)
            elif kind == "byte":
                data[i] = v
            elif kind == "cut":
                del data[i : i + n]
            elif kind == "insert":
                data[i:i] = bytes([v]) * n
            elif kind == "double":
                data[i:i] = data[i : i + n]
            else:
                digits = [j for j in range(end) if chr(data[j]).isdigit()] or [i]
                data[digits[int(at * len(digits))]] = ord("0") + v % 10
            path.write_bytes(bytes(data))

        cases[f"random {i}: {kind} in {file}"] = (spoil, None)
    return cases
