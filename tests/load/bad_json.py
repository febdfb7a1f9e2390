"""Damage to config.json, generation_config.json and tokenizer.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from good_directory import CONFIG
from spoil import Cases

CASES = Cases()


def in_json(file: str, name: str, change: Callable[[dict], Any], words: list[str] | None) -> None:
    def spoil(directory: Path) -> None:
        path = directory / file
        value = json.loads(path.read_text())
        changed = change(value)
        path.write_bytes(
            changed if isinstance(changed, bytes) else json.dumps(changed or value).encode()
        )

    CASES.add(f"{file}: {name}", spoil, None if words is None else [file, *words])


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
    words = ["model_type", "not supported", "llama, ", "mistral, "]
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
