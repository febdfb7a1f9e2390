"""`genfast replay`: makes the tokens of a receipt again and says where they differ."""

from __future__ import annotations

import argparse
from typing import Any

from genfast.cli.common import add_common, print_json

_EPILOG = """\
A receipt comes from `genfast generate --receipt FILE` or from `out.receipt.save(FILE)` in Python.
Exit code 1 if any step differs; everything that could be why is named.

example:
  genfast generate -m DIR "Once upon a time" --receipt receipt.json
  genfast replay receipt.json DIR
"""


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "replay",
        help="make the tokens of a receipt again, bit by bit",
        description="Generates what a receipt says again and compares every step's logits.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("receipt", metavar="RECEIPT", help="the JSON file")
    parser.add_argument("model", nargs="?", metavar="DIR", help="default: the bundled model")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all")
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import genfast

    receipt = genfast.Receipt.load(args.receipt)
    replay = genfast.replay(receipt, args.model, threads=args.threads)
    if args.json:
        print_json(replay.__dict__)
    else:
        for difference in replay.differences:
            print(difference)
        if replay.first_difference is None:
            print(f"all {replay.steps} steps are the same, bit by bit")
        else:
            print(f"step {replay.first_difference} is the first that differs")
            if not replay.differences:
                print("weights, texts, version and instruction set are those of the receipt")
    return 0 if replay.first_difference is None else 1
