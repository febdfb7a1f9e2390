"""Options that say what the text must look like."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genfast.cli.common import Usage


def add_guided(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "guided output", "at most one; needs: pip install 'genfast[guided]'"
    )
    group.add_argument("--json-schema", metavar="FILE", help="JSON that this schema describes")
    group.add_argument("--regex", metavar="REGEX", help="text that this regular expression matches")
    group.add_argument("--grammar", metavar="FILE", help="text of this Lark grammar")
    group.add_argument(
        "--choices", action="append", metavar="TEXT", help="one of these texts (repeat it for each)"
    )


def guided_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords for `generate`; None where nothing was asked for."""
    return {
        "json_schema": _read(args.json_schema),
        "regex": args.regex,
        "grammar": _read(args.grammar),
        "choices": args.choices,
    }


def _read(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Usage(f"{file}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise Usage(f"{file}: not UTF-8 text (byte {error.start})") from None
