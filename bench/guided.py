"""What guided output costs a token, on a model of a real shape.

    python bench/guided.py 135M DIR        int8; the random model is made if need be

Guided and free generations take turns, and search by four beams; all generate the same number of
tokens. "late" is what draws waited for masks that were not there yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import shapes
from guided_vocabulary import WordTokenizer

import genfast
from genfast.guided import Grammars

SCHEMA = {
    "type": "array",
    "minItems": 50,
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    },
}
WORDS = r"([a-z]+ )*"


def tokens_per_second(out: genfast.Generation) -> float:
    return out.timings.decode_tokens_per_second


def measure(model: genfast.Model, rounds: int, tokens: int) -> dict:
    grammars = model._grammars = Grammars(WordTokenizer(model.vocab_size), model.vocab_size)
    prompt = np.random.default_rng(1).integers(0, model.vocab_size, 64).tolist()
    common = {"max_tokens": tokens, "ignore_eos": True}
    drawn, searched = {"temperature": 1.0}, {"temperature": 0.0, "num_beams": 4}
    kinds = {
        "free": drawn,
        "json_schema": {**drawn, "json_schema": SCHEMA},
        "regex": {**drawn, "regex": WORDS},
        "4 beams": searched,
        "4 beams, json_schema": {**searched, "json_schema": SCHEMA},
        "4 beams, regex": {**searched, "regex": WORDS},
    }
    base = {kind: "4 beams" if "num_beams" in kinds[kind] else "free" for kind in kinds}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    late: dict[str, list[float]] = {kind: [] for kind in kinds}
    for seed in range(rounds + 1):  # the first warms up
        for kind, options in kinds.items():
            before = grammars.queue.waited_seconds
            out = model.generate(prompt, seed=seed, **common, **options)
            assert len(out.token_ids) == tokens, out
            if seed:
                rates[kind].append(tokens_per_second(out))
                late[kind].append((grammars.queue.waited_seconds - before) / tokens)
    return {
        kind: {
            "tokens/s": statistics.median(rates[kind]),
            "of free": statistics.median(
                a / b for a, b in zip(rates[kind], rates[base[kind]], strict=True)
            ),
            "late µs a token": 1e6 * statistics.median(late[kind]),
        }
        for kind in kinds
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape", choices=shapes.SHAPES)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--quantize", choices=["int8", "int4"], default="int8")
    args = parser.parse_args()
    directory = shapes.make(args.shape, args.directory)
    with genfast.load(directory, quantize=args.quantize, kv_cache_bytes=1 << 30) as model:
        for kind, row in measure(model, args.rounds, args.tokens).items():
            print(json.dumps({"kind": kind, **{k: round(v, 3) for k, v in row.items()}}))


if __name__ == "__main__":
    main()
