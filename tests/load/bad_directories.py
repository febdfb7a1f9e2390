"""Damage to what stands in the directory: no files or too many, a wrong index."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from good_directory import FILE, INDEX, NORM, write_good
from spoil import Cases, Spoil

CASES = Cases()


def files(name: str, spoil: Spoil, words: list[str] | None) -> None:
    CASES.add(f"directory: {name}", spoil, words)


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

    CASES.add(f"index: {name}", spoil, words)


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
