"""`genfast check`: does the promise of equal bits hold for this model on this machine?"""

from __future__ import annotations

import argparse
from typing import Any

from genfast.cli.common import add_common, add_model, load_options, print_json, say

_EPILOG = """\
The logits of one random prompt are computed with 1, 2 and 3 threads, alone and beside other
requests, in chunks of 1, 16 and 512 tokens, from nothing, from the prefix cache and from a file of
keys and values. They are compared bit by bit. Exit code 1 if any differ.

examples:
  genfast check --invariance
  genfast check --invariance DIR --quantize int8 --kv-dtype int8
"""


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="check a model's promises on this machine",
        description="Checks that a model's answers do not depend on how they are computed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--invariance",
        action="store_true",
        required=True,
        help="the same bits for any threads, batch, chunks and source of the prefix",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random prompt")
    add_model(parser, positional=True, threads=False)
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import genfast

    count = different = 0
    for check in genfast.check_invariance(args.model, seed=args.seed, **load_options(args)):
        count += 1
        different += not check.same
        if args.json:
            print_json(check.__dict__)
        else:
            what = "same bits" if check.same else "DIFFERENT"
            print(
                f"{check.threads} threads, {check.company:<10}, chunks of {check.chunk:>3}, "
                f"{check.source:<11}  {what}",
                flush=True,
            )
    say(f"{count - different} of {count} gave the same bits")
    return 1 if different else 0
