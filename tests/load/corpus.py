"""Over three hundred ways to spoil a small model directory (see spoil.py), and damage by dice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import bad_directories
import bad_json
import bad_safetensors
from good_directory import FILE
from spoil import Cases

CASES = Cases()
for module in (bad_safetensors, bad_directories, bad_json):
    for name, (spoil, words) in module.CASES.items():
        CASES.add(name, spoil, words)


def random_cases(rng: np.random.Generator, count: int) -> Cases:
    """Flipped bits, overwritten bytes, cuts, insertions and doublings in any of the files."""
    cases = Cases()
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

        cases.add(f"random {i}: {kind} in {file}", spoil, None)
    return cases
