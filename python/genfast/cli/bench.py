"""`genfast bench`: how fast a model runs here, beside what the machine could do at best."""

from __future__ import annotations

import argparse
import random
import statistics
from typing import Any

from genfast.cli.common import Usage, add_common, add_model, open_text_model, print_json, say, size
from genfast.cli.latency import latency_lines, measure_latency

_EPILOG = """\
Decoding reads every weight once a token, so its floor is bytes over read bandwidth; prefill
computes 2 operations a weight and token (the logits' matrix for the last token alone), so its floor
is operations over the instruction peak. Both ceilings are measured again before every round, since
they drift; "of the machine" is floor over measured time, the median over rounds. Figures of
different machines, or of a busy one, do not compare.

examples:
  genfast bench --machine            the two ceilings alone
  genfast bench DIR
  genfast bench DIR --latency
  genfast bench DIR --quantize int8 --prompt-tokens 512 --new-tokens 64 --repeat 5
"""


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="how fast a model runs on this machine",
        description="Prefill and decode speed, beside the machine's measured ceilings.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--machine", action="store_true", help="measure the machine only")
    parser.add_argument(
        "--latency",
        action="store_true",
        help="time to the first token and for 100, at 128, 2k and 8k of context",
    )
    parser.add_argument("--prompt-tokens", type=int, default=256, metavar="N")
    parser.add_argument("--new-tokens", type=int, default=64, metavar="N")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts")
    add_common(parser)
    add_model(parser, positional=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for name, low in (("prompt_tokens", 1), ("new_tokens", 2), ("repeat", 1)):
        if getattr(args, name) < low:
            flag = "--" + name.replace("_", "-")
            raise Usage(f"{flag} {getattr(args, name)}; allowed: {low} or more")
    from genfast.machine import measure

    if args.machine:
        say("measuring the machine …")
        report: dict[str, Any] = {"machine": measure()}
    elif args.latency:
        with open_text_model(args) as model:
            _need_room(model)
            report = {"model": _facts(model), "latency": measure_latency(model, args.repeat)}
    else:
        say("measuring the machine and the model in turn …")
        with open_text_model(args) as model:
            report = _measure_model(model, measure, args)
    if args.json:
        print_json(report)
    else:
        print("\n".join(latency_lines(report["latency"]) if args.latency else _lines(report)))
    return 0


def _measure_model(model: Any, measure: Any, args: argparse.Namespace) -> dict[str, Any]:
    _need_room(model)
    new = min(args.new_tokens, model.context_length // 2)
    prompt = min(args.prompt_tokens, model.context_length - new)
    options = {"max_tokens": new, "min_tokens": new, "ignore_eos": True, "temperature": 0}
    options["speculate"] = False  # noise repeats itself, and would be guessed
    draw = random.Random(1)
    rounds: list[dict[str, Any]] = []
    for index in range(args.repeat + 1):
        # A new prompt each time, or the prefix cache would answer.
        ids = [draw.randrange(model.vocab_size) for _ in range(prompt)]
        machine = measure(repeats=3)
        out = model.generate(ids, **options)
        if len(out.token_ids) != new or not all(0 <= i < model.vocab_size for i in out.token_ids):
            raise RuntimeError(f"asked for {new} tokens, got {len(out.token_ids)}")
        if index:  # the first run warms up
            prefill = _prefill(model, machine, prompt, out.timings.prefill_tokens_per_second)
            decode = _decode(model, machine, prompt, new, out.timings.decode_tokens_per_second)
            rounds.append({"machine": machine, "prefill": prefill, "decode": decode})
    return {"model": _facts(model)} | {
        part: _medians([each[part] for each in rounds]) for part in rounds[0]
    }


def _need_room(model: Any) -> None:
    if model.context_length < 4:
        raise ValueError(f"a context of {model.context_length} leaves nothing to measure")


def _facts(model: Any) -> dict[str, Any]:
    return {"path": str(model.path), "weight_bytes": model.weight_bytes}


def _medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Each number's median; what is no measurement is the same in every round."""
    return {
        key: statistics.median(each[key] for each in rounds) if isinstance(value, float) else value
        for key, value in rounds[0].items()
    }


def _prefill(model: Any, machine: dict[str, float], tokens: int, rate: float) -> dict[str, Any]:
    """Operations are counted in multiplications and additions, two a weight and token."""
    from genfast.sizing import sizes_of

    sizes = sizes_of(model.config, model.path / "config.json")
    work = 2.0 * (sizes.body_parameters + sizes.logits_parameters / tokens)
    # The peak of the arithmetic that the weights call for; float32 where it is not known.
    weights = max(1, sizes.body_parameters + sizes.logits_parameters)
    bits = 8.0 * model.weight_bytes / weights
    integers = model.settings["quantize"] in ("int8", "int4")
    kind = "int8_gops" if integers else "bf16_gflops" if bits < 24 else "fp32_gflops"
    peak = machine.get(kind) or machine["fp32_gflops"]
    done = rate * work / 1e9
    return {
        "tokens": tokens,
        "tokens_per_second": rate,
        "gflop_s": done,
        "ceiling": kind if machine.get(kind) else "fp32_gflops",
        "of_machine": done / peak,
    }


def _decode(
    model: Any, machine: dict[str, float], prompt: int, new: int, rate: float
) -> dict[str, Any]:
    context = prompt + new / 2
    per_token = model.weight_bytes + context * model.kv_bytes_per_token
    done = rate * per_token / 1e9
    return {
        "tokens": new,
        "tokens_per_second": rate,
        "gb_s": done,
        "ceiling": "read_gb_s",
        "of_machine": done / machine["read_gb_s"],
    }


_CACHE_BYTES = 256e6  # weights beyond this stay in no CPU's caches

_CEILINGS = (
    ("read_gb_s", "read bandwidth", "GB/s"),
    ("fp32_gflops", "float32", "GFLOP/s"),
    ("bf16_gflops", "bfloat16", "GFLOP/s"),
    ("int8_gops", "int8", "Gop/s"),
)


def _lines(report: dict[str, Any]) -> list[str]:
    machine = report["machine"]
    lines = ["machine"]
    for key, name, unit in _CEILINGS:
        if machine.get(key):
            lines.append(f"  {name:<15} {machine[key]:>9.1f} {unit}")
    if "model" not in report:
        return lines
    prefill, decode = report["prefill"], report["decode"]
    names = {key: name for key, name, _ in _CEILINGS}
    weights = size(report["model"]["weight_bytes"])
    cached = decode["of_machine"] > 1 and report["model"]["weight_bytes"] < _CACHE_BYTES
    note = ["  (more than memory gives: the weights stay in the caches)"] if cached else []
    return [
        *lines,
        "",
        f"model  {report['model']['path']} ({weights} of weights)",
        f"  prefill  {prefill['tokens_per_second']:>9.1f} tokens/s ({prefill['tokens']} tokens)  "
        f"{prefill['gflop_s']:.1f} GFLOP/s, {prefill['of_machine']:.0%} of the "
        f"{names[prefill['ceiling']]} peak",
        f"  decode   {decode['tokens_per_second']:>9.1f} tokens/s ({decode['tokens']} tokens)  "
        f"{decode['gb_s']:.2f} GB/s, {decode['of_machine']:.0%} of the read bandwidth",
        *note,
    ]
