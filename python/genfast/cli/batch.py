"""`genfast batch`: many prompts from a file to a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from genfast.cli.common import (
    Usage,
    add_common,
    add_model,
    add_sampling,
    load_options,
    open_text_model,
    print_json,
    sampling_options,
    say,
)

_EPILOG = """\
IN is a file of JSON lines, {"prompt": …} or {"messages": […]}, each with any keyword of generate
and an id. OUT gets a line a row: {"row": 0, "text": …, "finish_reason": …}, or where something is
wrong with the row {"row": 0, "error": …}, in the order in which they are ready. Run again, it goes
on where it was stopped.

examples:
  genfast batch DIR questions.jsonl answers.jsonl --max-tokens 200
  genfast batch DIR questions.jsonl answers.jsonl --ray      on all machines of a Ray cluster
"""


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "batch",
        help="many prompts from a file to a file",
        description="Answers every row of a file; resumable, and no bad row stops the others.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_common(parser)
    add_model(parser, positional=True)
    parser.add_argument("source", metavar="IN", help="rows to answer (JSON lines)")
    parser.add_argument("target", metavar="OUT", help="their results (JSON lines)")
    add_sampling(parser)
    group = parser.add_argument_group("where")
    group.add_argument(
        "--ray", action="store_true", help="on a Ray cluster; needs: pip install 'genfast[ray]'"
    )
    group.add_argument(
        "--ray-address",
        metavar="URL",
        help="of the cluster (default: $RAY_ADDRESS, else this machine)",
    )
    group.add_argument(
        "--replicas", type=int, default=1, metavar="N", help="with --ray: copies of the model"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from genfast.batch import Results, answers, read_rows

    options = sampling_options(args)
    source = Path(args.source)
    if not source.is_file():
        raise Usage(f"{source}: no such file")
    if args.replicas < 1:
        raise Usage("--replicas must be 1 or more")
    errors = 0
    with Results(Path(args.target)) as results:
        before = results.done
        rows = [row.number for row in read_rows(source) if not results.has(row)]
        wanted = (row for row in read_rows(source) if not results.has(row))
        if not rows:
            made: Iterable[dict[str, Any]] = ()
        elif args.ray:
            made = _by_ray(args, wanted, options)
        else:
            made = _here(args, wanted, options, answers)
        for result in _progress(made, len(rows)):
            results.write(result)
            errors += "error" in result
        told = {
            "rows": len(rows) + before,
            "before": before,
            "answered": results.done - before,
            "errors": errors,
        }
    if args.json:
        print_json(told)
    else:
        say("genfast batch: " + ", ".join(f"{count} {name}" for name, count in told.items()))
    return 0


def _here(args: Any, rows: Any, options: dict[str, Any], answers: Any) -> Iterator[dict[str, Any]]:
    with open_text_model(args) as model:
        yield from answers(model, rows, options)


def _by_ray(args: Any, rows: Any, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        from genfast.ray import answers
    except ImportError as error:
        raise Usage(f"--ray needs more packages ({error}): pip install 'genfast[ray]'") from None
    load = {"path": args.model, "threads": args.threads, "cache_dir": args.cache_dir}
    load |= load_options(args)
    return answers(load, rows, options, address=args.ray_address, replicas=args.replicas)


def _progress(results: Iterable[dict[str, Any]], total: int) -> Iterable[dict[str, Any]]:
    if not sys.stderr.isatty():
        return results
    from tqdm import tqdm

    return tqdm(results, total=total, unit="row", desc="batch")
