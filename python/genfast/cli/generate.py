"""`genfast generate`: continue a text."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from genfast.cli.common import (
    Usage,
    add_common,
    add_model,
    add_sampling,
    open_text_model,
    print_json,
    rates,
    sampling_options,
    say,
    shown,
    style,
    usage_json,
)
from genfast.cli.guided import add_guided, guided_options

_EPILOG = """\
Text goes to stdout as it comes; figures follow on stderr. Without PROMPT, stdin is the prompt
(less one newline at its end).

examples:
  genfast generate "Once upon a time"
  genfast generate -m DIR --temperature 0.8 --top-p 0.95 --seed 7 "Dear Sir,"
  genfast generate -m DIR --stop "\\n\\n" --max-tokens 400 < letter.txt
  genfast generate -m DIR --json "1, 2, 3," | jq -r .text
  genfast generate -m DIR --json-schema person.json "A person as JSON:"
  genfast generate -m DIR --infill "    return x" "def double(x):\\n"
  genfast generate -m DIR --ids 0,2,1,0,1,2     token ids, for a model without a tokenizer
"""


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        help="continue a text",
        description="Continues a text.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="default: read stdin")
    parser.add_argument(
        "--ids", type=_ids, metavar="1,2,3", help="token ids as the prompt, instead of a text"
    )
    parser.add_argument(
        "--infill",
        metavar="SUFFIX",
        help="write what stands between PROMPT and SUFFIX, with a model that can",
    )
    parser.add_argument("--echo", action="store_true", help="print the prompt before its sequel")
    parser.add_argument("-q", "--quiet", action="store_true", help="no figures at the end")
    add_common(parser)
    add_model(parser)
    add_sampling(parser)
    add_guided(parser)
    group = parser.add_argument_group("more than text")
    group.add_argument("--n", type=int, metavar="N", help="N independent continuations")
    group.add_argument(
        "--logprobs", type=int, metavar="K", help="with --json: the K likeliest at each place"
    )
    group.add_argument(
        "--receipt", metavar="FILE", help="write what `genfast replay` makes the same text from"
    )
    parser.set_defaults(run=run)


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of token ids") from None


def run(args: argparse.Namespace) -> int:
    options = sampling_options(args, n=args.n, logprobs=args.logprobs, **guided_options(args))
    if args.logprobs is not None and not args.json:
        raise Usage("--logprobs needs --json")
    if args.ids is not None and args.prompt is not None:
        raise Usage("PROMPT and --ids exclude each other")
    if args.infill is not None and args.ids is not None:
        raise Usage("--infill and --ids exclude each other")
    prompt = args.ids if args.ids is not None else _prompt(args.prompt)
    with open_text_model(args) as model:
        if args.infill is not None:
            return _infill(model, prompt, options, args)
        if args.json:
            out = model.generate(prompt, **options)
            print_json(_to_json(out, args.model))
            _keep_receipt(out, args.receipt)
            return 0
        if (args.n or 1) > 1:
            return _several(model, prompt, options, args)
        return _stream(model, prompt, options, args)


def _prompt(given: str | None) -> str:
    """The prompt of the command line, else of stdin."""
    if given is not None:
        return given
    if sys.stdin is None:
        raise Usage("no PROMPT, and no stdin to read one from")
    if sys.stdin.isatty():
        say("genfast generate: reading the prompt from stdin; end it with Ctrl-D")
    binary = getattr(sys.stdin, "buffer", None)
    if binary is None:
        text = sys.stdin.read()
    else:
        try:
            text = binary.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"stdin is not UTF-8 text (byte {error.start})") from None
    return text.removesuffix("\n").removesuffix("\r")


def _stream(model: Any, prompt: Any, options: dict[str, Any], args: argparse.Namespace) -> int:
    ends_line = True
    without_text = model.tokenizer is None

    def write(text: str) -> None:
        nonlocal ends_line
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            ends_line = text.endswith("\n")

    if args.echo:
        write(" ".join(map(str, prompt)) + " " if without_text else shown(_text(model, prompt)))
    last = None
    stream = model.stream(prompt, **options)
    try:
        for chunk in stream:
            write("".join(f"{i} " for i in chunk.token_ids) if without_text else shown(chunk.text))
            last = chunk if chunk.finish_reason else last
    finally:
        stream.close()  # Ctrl-C: stop computing before anything else
        if not ends_line:
            write("\n")
    if last is not None and last.usage is not None and not args.quiet:
        say(style(rates(last.usage, last.timings, last.finish_reason), "2"))
    if last is not None:
        _keep_receipt(last, args.receipt)
    return 0


def _keep_receipt(result: Any, file: str | None) -> None:
    if file is not None:
        result.receipt.save(file)


def _text(model: Any, prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else model.tokenizer.decode(prompt)


def _infill(model: Any, prefix: str, options: dict[str, Any], args: argparse.Namespace) -> int:
    out = model.infill(prefix, args.infill, **options)
    if args.json:
        print_json(_to_json(out, args.model))
    else:
        middle = shown(out.text)
        print(shown(prefix) + middle + shown(args.infill) if args.echo else middle)
        if not args.quiet:
            say(style(rates(out.usage, out.timings, out.finish_reason), "2"))
    _keep_receipt(out, args.receipt)
    return 0


def _several(model: Any, prompt: Any, options: dict[str, Any], args: argparse.Namespace) -> int:
    out = model.generate(prompt, **options)
    for index, choice in enumerate(out.choices, 1):
        print(style(f"--- {index} of {len(out.choices)} ---", "2", sys.stdout))
        text = _text(model, prompt) if args.echo and model.tokenizer is not None else ""
        text += choice.text if model.tokenizer is not None else " ".join(map(str, choice.token_ids))
        print(shown(text))
    if not args.quiet:
        say(style(rates(out.usage, out.timings, out.finish_reason), "2"))
    _keep_receipt(out, args.receipt)
    return 0


def _to_json(out: Any, model: str | None) -> dict[str, Any]:
    choices = [
        {
            "text": choice.text,
            "token_ids": list(choice.token_ids),
            "finish_reason": choice.finish_reason,
            **({"logprobs": _logprobs(choice.logprobs)} if choice.logprobs is not None else {}),
            **({} if choice.score is None else {"score": choice.score}),
        }
        for choice in out.choices
    ]
    more = {"choices": choices} if len(choices) > 1 else {}
    return {"model": model, **choices[0], **more, **usage_json(out.usage, out.timings)}


def _logprobs(entries: Any) -> list[dict[str, Any]]:
    return [
        {"token_id": e.token_id, "logprob": e.logprob, "top": [list(pair) for pair in e.top]}
        for e in entries
    ]
