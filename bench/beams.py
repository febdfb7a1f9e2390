"""What a step of beam search costs: beside a greedy step, and beside CTranslate2 and transformers.

Random models of real shapes, in one interleaved run: round by round, engine by engine, a greedy
decode and a beam search of the same prompt; seconds a step, medians over rounds, and of ratios the
median of the rounds' own. Every engine lives in a process of its own. genfast runs in each format,
a peer in its own; both have all steps (no end token).

  python bench/beams.py --shapes 135M --work DIR           --peers: those that are installed
  python bench/beams.py --prompt-tokens 4096 --peers       beams over a long prompt
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from engines import engine_class
from engines.worker import Worker, installed
from report import table
from shapes import SHAPES, make

_PEERS = {"CTranslate2": "int8", "transformers": "bf16"}


def compare(model: Path, vocabulary: int, args: argparse.Namespace) -> list[list[str]]:
    """The rows of a table: one an engine and format."""
    rng = np.random.default_rng(1)
    names, _ = installed(["genfast", *args.peers])
    runs = [("genfast", fmt) for fmt in args.formats]
    runs += [(name, _PEERS[name]) for name in names[1:]]
    workers = {run: Worker(run[0], model, run[1], args.threads, args.work) for run in runs}
    rounds = []
    try:
        for index in range(args.rounds + 1):
            ids = rng.integers(3, vocabulary, args.prompt_tokens).tolist()
            now = {}
            for at in range(len(runs)):
                run = runs[(index + at) % len(runs)]
                time.sleep(0.2)  # what spins after its turn has gone to sleep by now
                now[run] = [
                    workers[run]("beams", ids, beams, args.new_tokens) / args.new_tokens
                    for beams in (1, args.beams)
                ]
            if index:  # the first round warms up
                rounds.append(now)
                print(index, {" ".join(run): now[run] for run in runs}, file=sys.stderr)
    finally:
        for worker in workers.values():
            worker.close()

    def median(figure) -> float:
        return statistics.median(figure(each) for each in rounds)

    rows = []
    for run in runs:
        greedy, beams = (median(lambda each, i=i, run=run: each[run][i]) for i in (0, 1))
        ratio = median(lambda each, run=run: each[run][1] / each[run][0])
        row = [" ".join(run), f"{1e3 * greedy:.2f}", f"{1e3 * beams:.2f}", f"{ratio:.2f}"]
        row.append(f"{1 / beams:.1f}")
        ours = ("genfast", run[1])
        if run[0] != "genfast" and ours in runs:
            times = median(lambda each, run=run, ours=ours: each[run][1] / each[ours][1])
            row.append(f"{times:.1f}")
        rows.append(row + [""] * (6 - len(row)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python bench/beams.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--shapes", nargs="+", choices=SHAPES, default=["135M", "1B"])
    add("--formats", nargs="+", choices=engine_class("genfast").FORMATS, default=["int8", "bf16"])
    add("--peers", nargs="*", choices=_PEERS, default=list(_PEERS))
    add("--beams", type=int, default=4, metavar="N")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--prompt-tokens", type=int, default=64, metavar="N")
    add("--new-tokens", type=int, default=24, metavar="N")
    add("--rounds", type=int, default=5, metavar="N")
    add("--work", type=Path, metavar="DIR", help="keeps models (default: temporary)")
    args = parser.parse_args()
    if args.beams < 2 or min(args.threads, args.prompt_tokens, args.new_tokens, args.rounds) < 1:
        parser.error("--beams starts at 2, the other numbers at 1")
    heading = ["engine", "greedy ms", f"{args.beams} beams ms", "÷ greedy", "tokens/s", "genfast ÷"]
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or Path(temporary)
        for shape in args.shapes:
            model = make(shape, args.work / shape)
            rows = compare(model, SHAPES[shape]["vocab_size"], args)
            print(f"\n**{shape}**, prompt {args.prompt_tokens}\n\n{table([heading, *rows])}")


if __name__ == "__main__":
    main()
