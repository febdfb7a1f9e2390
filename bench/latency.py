"""How long a short answer takes from call to return: the recipe of docs/latency.md, measured.

    python bench/latency.py --dir DIR          int8, the 135M shapes; made if need be

A prefix of 512 tokens that every prompt begins with, 16 of a question, 16 of an answer.
Noise answers with noise, which is decoded without speculation; the model that quotes (replay.py)
answers with words of its prefix. Wall-clock time around `generate`, new questions each time: the
median and the 90th percentile.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import shapes
from replay import Replay

import genfast

PREFIX, QUESTION, ANSWER = 512, 16, 16
LOAD = {"quantize": "int8", "kv_cache_bytes": 1 << 30, "progress": False}
OPTIONS = {"max_tokens": ANSWER, "temperature": 0, "ignore_eos": True}


def seconds(model: genfast.Model, prompt: list[int], **options) -> tuple[float, list[int]]:
    begin = time.perf_counter()
    out = model.generate(prompt, **OPTIONS, **options)
    took = time.perf_counter() - begin
    assert len(out.token_ids) == ANSWER
    return took, out.token_ids


def summary(times: list[float]) -> dict[str, float]:
    return {"ms": 1e3 * float(np.median(times)), "ms_p90": 1e3 * float(np.percentile(times, 90))}


def measure(directory: Path, rounds: int) -> dict[str, dict[str, float]]:
    draw = np.random.default_rng(1)
    results = {}
    with genfast.load(shapes.make("135M", directory / "noise"), **LOAD) as model:

        def tokens(count: int) -> list[int]:
            return draw.integers(3, model.vocab_size, count).tolist()

        prefix = tokens(PREFIX)
        seconds(model, prefix + tokens(QUESTION))  # warm, and the prefix is cached
        new, cached = [], []
        for _ in range(rounds):
            new.append(seconds(model, tokens(PREFIX + QUESTION), speculate=False)[0])
            cached.append(seconds(model, prefix + tokens(QUESTION), speculate=False)[0])
        results |= {"new prompt": summary(new), "cached prefix": summary(cached)}

    answer = prefix[100 : 100 + ANSWER]
    path = Replay(directory / "135M", "135M").model("quote", prefix + answer[:QUESTION], answer)
    with genfast.load(path, **LOAD) as model:
        quoting = {False: [], "auto": []}
        for _ in range(rounds + 1):
            # The question ends like the place that is quoted, as one that names it does.
            question = tokens(QUESTION - 4) + prefix[96:100]
            for speculate, times in quoting.items():
                took, said = seconds(model, prefix + question, speculate=speculate)
                assert said == answer, "the model does not keep to its script"
                times.append(took)
        results["cached prefix, a quote, no speculation"] = summary(quoting[False][1:])
        results["cached prefix, a quote"] = summary(quoting["auto"][1:])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, help="where models are made, and kept")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        results = measure(args.dir or Path(scratch), args.rounds)
    if args.json:
        print(json.dumps(results, indent=1))
        return
    for name, row in results.items():
        print(f"{name:<40} {row['ms']:>7.1f} ms   p90 {row['ms_p90']:>7.1f} ms")


if __name__ == "__main__":
    main()
