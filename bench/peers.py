"""genfast beside its peers on the same weights: prefill and decode speed, in one interleaved run.

Random models of real shapes are made and converted for every peer that is installed; then each
round measures the machine's ceilings and, engine by engine in turn, a fresh prompt's prefill and a
decode of greedy tokens after a short prompt. Tokens per second are medians over rounds; a ratio is
the median of the rounds' own ratios, since a machine's bandwidth drifts between rounds. Every
engine lives in a process of its own and sleeps while another is timed. What each computes is
checked first: the KL divergence of its next-token distribution from genfast's in float32.

Peers, all optional:
  pip install torch transformers llama-cpp-python gguf openvino ctranslate2 \
    onnxruntime-genai onnx-ir

--isa avx2 shows a machine without AVX-512: genfast is forced to AVX2 and stands beside a
llama.cpp that was built for it (--llama, a folder of its own):
  CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON" \
    pip install --no-deps --no-cache-dir --no-binary :all: --target DIR llama-cpp-python
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
from engines import ENGINES, engine_class
from engines.worker import Worker, installed
from report import LIMITS, divergence, insert, table
from shapes import SHAPES, make

_EPILOG = """\
examples:
  python bench/peers.py --work DIR                       everything; DIR keeps what was converted
  python bench/peers.py --work DIR --resume              goes on where that was stopped
  python bench/peers.py --shapes 135M --formats int8 int4 --peers llama.cpp
  python bench/peers.py --work DIR --isa avx2 --llama DIR2
  python bench/peers.py --work DIR --report docs/performance.md
                         no run: puts the results of DIR into the page, between the marks
                         <!-- peers --> and <!-- /peers -->
"""
_RESULTS = "results.json"
ISAS = ["", "avx2"]  # none: the best of the machine
_CHECKED = 6  # prompts whose distributions are compared


def _prompt(rng: np.random.Generator, vocabulary: int, length: int) -> list[int]:
    return rng.integers(3, vocabulary, length).tolist()  # not the special ids


def _reference(model: Path, prompts: list[list[int]], args: argparse.Namespace) -> list[np.ndarray]:
    worker = Worker("genfast", model, "f32", args.threads, args.work)
    try:
        return [worker("logits", ids) for ids in prompts]
    finally:
        worker.close()


def _check(worker: Worker, fmt: str, prompts, reference) -> dict[str, float]:
    pairs = [
        divergence(a, worker("logits", ids)) for ids, a in zip(prompts, reference, strict=True)
    ]
    kl = float(np.mean([kl for kl, _ in pairs]))
    same = sum(same for _, same in pairs)
    unrelated = np.mean([divergence(a, b)[0] for a, b in pairwise(reference)])
    limit = LIMITS[fmt] * unrelated
    if not kl < limit:
        raise RuntimeError(
            f"{worker.name} in {fmt} computes something else: KL divergence from genfast in "
            f"float32 {kl:.2e}, expected below {limit:.0e}; the conversion is wrong"
        )
    return {"kl": kl, "same": float(same)}


def compare(model: Path, shape: str, fmt: str, args: argparse.Namespace) -> dict[str, Any]:
    """One shape in one format: {"machine", "rows": {engine: figures}, "missing": {engine: why}}."""
    from genfast.machine import measure

    vocabulary = SHAPES[shape]["vocab_size"]
    rng = np.random.default_rng(1)
    prompts = [_prompt(rng, vocabulary, 24) for _ in range(_CHECKED)]
    names, missing = installed(["genfast", *args.peers])
    names = [name for name in names if fmt in engine_class(name).FORMATS]
    reference = _reference(model, prompts, args)
    workers: dict[str, Worker] = {}
    rows: dict[str, dict[str, Any]] = {}
    rounds: list[dict[str, Any]] = []
    try:
        for name in names:
            workers[name] = Worker(name, model, fmt, args.threads, args.work)
            rows[name] = _check(workers[name], fmt, prompts, reference)
            rows[name]["called"] = engine_class(name).FORMATS[fmt]
            _say(f"{shape} {fmt}: {name} KL {rows[name]['kl']:.1e}")
        for index in range(args.rounds + 1):
            now: dict[str, Any] = {"machine": measure(threads=args.threads, repeats=3)}
            order = names[index % len(names) :] + names[: index % len(names)]
            for name in order:
                time.sleep(0.2)  # what spins after its turn has gone to sleep by now
                prefill = workers[name]("prefill", _prompt(rng, vocabulary, args.prompt_tokens))
                decode = workers[name]("decode", _prompt(rng, vocabulary, 16), args.new_tokens)
                now[name] = {
                    "prefill": args.prompt_tokens / prefill,
                    "decode": args.new_tokens / decode,
                }
            if index:  # the first round warms up
                rounds.append(now)
                told = "  ".join(
                    f"{name} {now[name]['prefill']:.0f}/{now[name]['decode']:.1f}" for name in names
                )
                _say(f"{shape} {fmt}: round {index}: {told}")
    finally:
        for worker in workers.values():
            worker.close()
    for name in names:
        for part in ("prefill", "decode"):
            rows[name][part] = statistics.median(each[name][part] for each in rounds)
            rows[name][f"{part}_ratio"] = statistics.median(
                each["genfast"][part] / each[name][part] for each in rounds
            )
    machine = {
        key: statistics.median(each["machine"][key] for each in rounds)
        for key in rounds[0]["machine"]
    }
    options = {key: getattr(args, key) for key in ("threads", "prompt_tokens", "new_tokens")}
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": _cpu(),
        "machine": machine,
        "rounds": args.rounds,
        "rows": rows,
        "missing": missing,
        **options,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _key(shape: str, fmt: str, isa: str) -> str:
    """Of a run's results in the file."""
    return f"{shape} {fmt} {isa}".strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def text_of(results: dict[str, Any]) -> str:
    """The results of all runs as Markdown, a table a shape."""
    parts = []
    for shape, isa in product(SHAPES, ISAS):
        keys = {fmt: _key(shape, fmt, isa) for fmt in LIMITS}
        runs = {fmt: results[key] for fmt, key in keys.items() if key in results}
        if not runs:
            continue
        lines = [["format", "engine", "prefill", "genfast ÷ it", "decode", "genfast ÷ it", "KL"]]
        for fmt, run in runs.items():
            for name, row in run["rows"].items():
                ours = name == "genfast"
                lines.append(
                    [
                        fmt,
                        f"**{name}**" if ours else f"{name} {row['called']}",
                        f"{row['prefill']:.0f}",
                        "" if ours else f"{row['prefill_ratio']:.2f}",
                        f"{row['decode']:.1f}",
                        "" if ours else f"{row['decode_ratio']:.2f}",
                        f"{row['kl']:.0e}",
                    ]
                )
            lines += [[fmt, name, why, "", "", "", ""] for name, why in run["missing"].items()]
        first = next(iter(runs.values()))
        ceilings = "; ".join(
            f"{fmt}: read {m['read_gb_s']:.0f} GB/s, f32 {m['fp32_gflops']:.0f}, "
            f"bf16 {m['bf16_gflops']:.0f} GFLOP/s, int8 {m['int8_gops']:.0f} Gop/s"
            for fmt, m in ((fmt, run["machine"]) for fmt, run in runs.items())
        )
        parts.append(
            f"**{shape}{isa and ', AVX2 alone'}** ({first['cpu']}, {first['threads']} threads, "
            f"{first['date']}; tokens/s, "
            f"prompt {first['prompt_tokens']}, {first['new_tokens']} new, medians of "
            f"{min(run['rounds'] for run in runs.values())} or more rounds)\n\n"
            f"{table(lines)}\n\nCeilings in those runs: {ceilings}."
        )
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python bench/peers.py",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    others = [name for name in ENGINES if name != "genfast"]
    add = parser.add_argument
    add("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    add("--formats", nargs="+", choices=LIMITS, default=["bf16", "int8", "int4"])
    add("--peers", nargs="+", choices=others, default=others)
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--prompt-tokens", type=int, default=512, metavar="N")
    add("--new-tokens", type=int, default=32, metavar="N")
    add("--rounds", type=int, default=5, metavar="N")
    add("--work", type=Path, metavar="DIR", help="keeps models and results (default: temporary)")
    add("--resume", action="store_true", help="leave out what --work has results of")
    add("--report", type=Path, metavar="FILE", help="write the results of --work there; no run")
    add("--isa", choices=ISAS[1:], default="", help="the instruction set of all; needs --llama")
    add("--llama", type=Path, metavar="DIR", help="where to import llama_cpp from")
    args = parser.parse_args()
    if (args.report or args.resume) and not args.work:
        parser.error("--report and --resume need --work, the folder of an earlier run")
    if args.isa and not args.llama:
        parser.error("--isa avx2 needs --llama, a folder with a llama_cpp built for it")
    if min(args.threads, args.prompt_tokens, args.new_tokens, args.rounds) < 1:
        parser.error("--threads, --prompt-tokens, --new-tokens and --rounds start at 1")
    if args.report:
        insert(args.report, "peers", text_of(json.loads((args.work / _RESULTS).read_text())))
        return
    if args.llama:
        sys.path.insert(0, str(args.llama))  # the engines' processes take it over
    if args.isa:
        os.environ["GENFAST_ISA"] = args.isa
        args.peers = ["llama.cpp"]
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or Path(temporary)
        args.work.mkdir(parents=True, exist_ok=True)
        kept = args.work / _RESULTS
        results = json.loads(kept.read_text()) if kept.exists() else {}
        done = {}
        for shape in args.shapes:
            model = make(shape, args.work / shape)
            for fmt in args.formats:
                key = _key(shape, fmt, args.isa)
                if args.resume and key in results:
                    _say(f"{key}: there already, of {results[key]['date']}")
                    continue
                done[key] = compare(model, shape, fmt, args)
                kept.write_text(json.dumps(results | done, indent=1))
        print(text_of(done))


if __name__ == "__main__":
    main()
