"""The `genfast` command: front ends over the public API.

Exit codes: 0 done, 1 an error of genfast's (one line on stderr; --debug shows the traceback),
2 wrong usage, 130 stopped by Ctrl-C, 141 the reader of our output went away.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence

from genfast.cli.common import Usage, say

_EPILOG = """\
examples:
  genfast generate "Once upon a time"             continue a text with the bundled model
  genfast generate -m ~/models/llama "Dear Sir,"  … with a Hugging Face directory
  genfast chat -m ~/models/llama --quantize int8  talk to a model
  genfast serve ~/models/llama                    … over HTTP, as OpenAI's API
  genfast image ~/models/sd "a red fox" -o fox.png  make an image
  genfast info ~/models/llama                     what it is and how much memory it takes
  genfast bench --machine                         what this machine can do at best
  genfast check --invariance ~/models/llama       the same bits whatever runs beside?

`genfast COMMAND --help` tells more about each. --json makes every command machine-readable.
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from genfast.cli import batch, bench, chat, check, generate, image, info, replay, serve

    parser = argparse.ArgumentParser(
        prog="genfast",
        description="Runs generative models from Hugging Face directories, on the CPU.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for module in (generate, chat, image, serve, batch, info, bench, check, replay):
        module.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a character shows "?"
            stream.reconfigure(errors="replace")
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said why
        return int(stop.code or 0)
    debug = getattr(args, "debug", False)
    try:
        if args.version:
            import genfast

            print(genfast.__version__)
            return 0
        if args.command is None:
            parser.print_help(sys.stderr)
            return 2
        code = args.run(args)
        sys.stdout.flush()
        return code
    except Usage as error:
        say(f"genfast {args.command}: error: {error} (see genfast {args.command} --help)")
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads on: leave nothing for the interpreter to complain about at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        else:
            say(f"genfast: error: {_one_line(error)}")
        return 1


def _one_line(error: Exception) -> str:
    """The message of an error; with the error's name where it was not meant for users."""
    from genfast.errors import GenfastError

    text = " ".join(str(error).split())
    if isinstance(error, GenfastError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
