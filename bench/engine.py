"""What the engine promises beside the speed of a single request, measured on a real shape.

    python bench/engine.py 135M                    int8; the model is made if need be
    python bench/engine.py 1B --rounds 3 --json

Figures are ratios of times taken in turn in this run, or times by the engine's own clock. What is
timed is compared with the answer that its request gets alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import shapes

import genfast

# Noise repeats itself, and would be guessed: speculation has a bench of its own.
GREEDY = {"temperature": 0, "ignore_eos": True, "speculate": False}


class Reader(threading.Thread):
    """Reads a stream until told to stop; remembers when each token came."""

    def __init__(self, model: genfast.Model, ids: list[int]) -> None:
        super().__init__()
        self.ids, self.tokens, self.times = ids, [], []
        self.enough = threading.Event()
        self._stream = model.stream(ids, max_tokens=3000, **GREEDY)
        self.start()

    def run(self) -> None:
        for chunk in self._stream:
            self.times.append(time.perf_counter())
            self.tokens += chunk.token_ids
            if self.enough.is_set():
                break
        self._stream.close()

    def gaps(self, begin: float, end: float) -> list[float]:
        """Between tokens that came in this time."""
        inside = [t for t in self.times if begin <= t <= end]
        return list(np.diff(inside))


class Bench:
    def __init__(self, directory: Path, quantize: str | None, rounds: int) -> None:
        self.rounds = rounds
        options = {"quantize": quantize, "kv_cache_bytes": 2 << 30, "progress": False}
        self.model = genfast.load(directory, **options)
        self.plain = genfast.load(directory, prefix_cache=False, **options)
        self.draw = np.random.default_rng(1)

    def prompt(self, tokens: int) -> list[int]:
        return self.draw.integers(0, self.model.vocab_size, tokens).tolist()

    def seconds(self, model: genfast.Model, prompt, max_tokens: int) -> float:
        begin = time.perf_counter()
        out = model.generate(prompt, max_tokens=max_tokens, **GREEDY)
        took = time.perf_counter() - begin
        for each in out if isinstance(out, list) else [out]:
            assert len(each.token_ids) == max_tokens
        return took

    def fluency(self) -> dict[str, float]:
        """Gaps between the tokens of two streams, before and while a prompt of 4,000 comes in."""
        quiet, beside = [], []
        for _ in range(self.rounds):
            readers = [Reader(self.model, self.prompt(64)) for _ in range(2)]
            while min(len(reader.tokens) for reader in readers) < 8:
                time.sleep(0.001)
            start = time.perf_counter()
            while min(len(reader.tokens) for reader in readers) < 40:
                time.sleep(0.001)
            begin = time.perf_counter()
            self.model.generate(self.prompt(4000), max_tokens=1, **GREEDY)
            end = time.perf_counter()
            for reader in readers:
                reader.enough.set()
            for reader in readers:
                reader.join()
                quiet += reader.gaps(start, begin)
                beside += reader.gaps(begin, end)
                alone = self.plain.generate(reader.ids, max_tokens=len(reader.tokens), **GREEDY)
                assert alone.token_ids == reader.tokens, "a stream's tokens changed"
        usual = statistics.median(quiet)
        return {
            "gap_ms": 1e3 * usual,
            "gap_beside_4k_prompt": statistics.median(beside) / usual,
            "gap_beside_4k_prompt_p99": float(np.percentile(beside, 99)) / usual,
        }

    def prefix(self) -> dict[str, float]:
        """Time to the first token of a prompt of 1,024 that was seen before, of one that was not;
        and what looking for prefixes costs where there are none."""
        again, hits, misses = [], [], []
        for _ in range(self.rounds):
            ids, other = self.prompt(1024), self.prompt(1024)
            new = self.seconds(self.model, ids, 1)
            hit = self.seconds(self.model, ids, 1)
            again.append(hit / new)
            hits.append(hit)
            for first, second in ((self.model, self.plain), (self.plain, self.model)):
                ids = other[:512] if first is self.model else other[512:]
                times = {id(first): self.seconds(first, ids, 16)}
                times[id(second)] = self.seconds(second, ids, 16)
                misses.append(times[id(self.model)] / times[id(self.plain)])
        return {
            "ttft_cached_1k_of_uncached": statistics.median(again),
            "ttft_cached_1k_ms": 1e3 * statistics.median(hits),
            "cost_without_hits": statistics.median(misses) - 1,
        }

    def batch(self) -> dict[str, float]:
        """Tokens a second of eight streams over those of one, in decode."""
        ratios = []
        for _ in range(self.rounds):
            prompts, new = [self.prompt(16) for _ in range(8)], 32
            rates = []
            for count in (1, 8):
                long = self.seconds(self.plain, prompts[:count], new)
                short = self.seconds(self.plain, prompts[:count], 1)
                rates.append(count * (new - 1) / (long - short))
            ratios.append(rates[1] / rates[0])
        return {"eight_streams_of_one": statistics.median(ratios)}

    def planning(self) -> dict[str, float]:
        """Microseconds a step between computing, with 64 requests; the longest that a Python
        thread waited meanwhile; costs told over costs measured."""
        prompts = [self.prompt(int(n)) for n in self.draw.integers(4, 64, 64)]
        expected = [self.plain.generate(ids, max_tokens=24, **GREEDY) for ids in prompts[:3]]
        waits, stop = [], threading.Event()

        def heartbeat() -> None:
            last = time.perf_counter()
            while not stop.is_set():
                time.sleep(0.001)
                now = time.perf_counter()
                waits.append(now - last)
                last = now

        beat = threading.Thread(target=heartbeat)
        before = self.model.stats()
        beat.start()
        out = self.model.generate(prompts, max_tokens=24, **GREEDY)
        stop.set()
        beat.join()
        after = self.model.stats()
        for got, want in zip(out, expected, strict=False):
            assert got.token_ids == want.token_ids
        steps = after["steps"] - before["steps"]
        planned = after["planning_us_per_step"] * after["steps"]
        planned -= before["planning_us_per_step"] * before["steps"]
        told = sum(each.usage.cpu_seconds for each in out)
        return {
            "planning_us_per_step_64": planned / steps,
            "heartbeat_longest_ms": 1e3 * max(waits),
            "cpu_told_over_measured": told / (after["cpu_seconds"] - before["cpu_seconds"]),
        }


GOALS = {
    "gap_beside_4k_prompt": "≤ 2",
    "ttft_cached_1k_of_uncached": "≤ 0.05",
    "cost_without_hits": "≤ 0.01",
    "eight_streams_of_one": "≥ 5 (1B)",
    "planning_us_per_step_64": "≤ 20",
    "heartbeat_longest_ms": "≤ 50",
    "cpu_told_over_measured": "0.95 to 1.05",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=shapes.SHAPES)
    parser.add_argument("--quantize", choices=["none", "int8", "int4"], default="int8")
    parser.add_argument("--rounds", type=int, default=3, help="medians of so many")
    parser.add_argument(
        "--models", type=Path, default=Path(tempfile.gettempdir()) / "models", metavar="DIR"
    )
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    directory = shapes.make(args.shape, args.models / args.shape)
    bench = Bench(directory, None if args.quantize == "none" else args.quantize, args.rounds)
    figures: dict[str, float] = {}
    for part in (bench.planning, bench.batch, bench.prefix, bench.fluency):
        new = part()
        figures |= new
        if not args.json:
            for name, value in new.items():
                print(f"{name:<28} {value:>9.3g}  {GOALS.get(name, '')}", flush=True)
    if args.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
