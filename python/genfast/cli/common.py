"""What the commands share: their options, opening a model, and talking to a terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from typing import Any

from genfast.formats import KEYS_AND_VALUES, QUANTISED


class Usage(Exception):
    """A mistake in the command line that argparse could not see."""


def say(text: str) -> None:
    """A line for the person at the terminal: stderr, so that stdout holds the output alone."""
    with contextlib.suppress(OSError):  # a closed stderr is nobody's error
        print(text, file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def style(text: str, code: str, stream: Any = None) -> str:
    """`text` in an ANSI style on a terminal that wants one (NO_COLOR, TERM=dumb are respected)."""
    stream = stream or sys.stderr
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not stream.isatty() else f"\x1b[{code}m{text}\x1b[0m"


def shown(text: str) -> str:
    """Model text for stdout: on a terminal, control characters cannot reach it."""
    if not sys.stdout.isatty():
        return text
    return "".join(
        c if c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160) else "\ufffd" for c in text
    )


def add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.add_argument("--debug", action="store_true", help="show tracebacks of errors")


def add_model(
    parser: argparse.ArgumentParser, positional: bool = False, threads: bool = True
) -> None:
    """Which model, and how it is loaded."""
    group = parser.add_argument_group("model")
    text = "Hugging Face directory (config.json, *.safetensors …); default: the bundled model"
    if positional:
        group.add_argument("model", nargs="?", metavar="DIR", help=text)
    else:
        group.add_argument("-m", "--model", metavar="DIR", help=text)
    group.add_argument("--quantize", choices=QUANTISED, help="pack the weights while loading")
    group.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="keep packed weights here: later loads are faster and share memory",
    )
    group.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    group.add_argument(
        "--kv-dtype",
        choices=["auto", *KEYS_AND_VALUES],
        default="auto",
        help="type of the KV cache",
    )
    group.add_argument(
        "--window", type=int, metavar="N", help="look back N tokens only; changes the answers"
    )
    group.add_argument(
        "--sinks", type=int, metavar="N", default=0, help="with a window: keep the first N in sight"
    )
    group.add_argument(
        "--adapter",
        metavar="DIR",
        action="append",
        dest="adapters",
        default=[],
        help="merge a LoRA adapter, a directory of PEFT, into the weights (may be repeated)",
    )
    group.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    text = "with --device cuda: so many first layers on the GPU; default: as many as fit"
    group.add_argument("--gpu-layers", type=int, metavar="N", help=text)
    text = "so many processes, or GPUs, compute the model together (default 1)"
    group.add_argument("--tensor-parallel", type=int, metavar="N", default=1, help=text)
    if threads:
        text = "default: all this process may use"
        group.add_argument("--threads", type=int, metavar="N", help=text)


def open_model(args: argparse.Namespace, **more: Any) -> Any:
    """`genfast.load` with the options of `add_model`, and more."""
    import genfast

    return genfast.load(
        args.model, threads=args.threads, cache_dir=args.cache_dir, **load_options(args), **more
    )


def open_text_model(args: argparse.Namespace, **more: Any) -> Any:
    """As `open_model`; of one that draws images with a language model, that model."""
    import genfast

    opened = open_model(args, **more)
    if not isinstance(opened, genfast.ImagePipeline):
        return opened
    inside = getattr(opened, "model", None)
    if isinstance(inside, genfast.Model):
        return inside
    opened.close()
    raise Usage(f"{args.model} is a model of images; see genfast image")


def load_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords for `genfast.load` but for the directory and the threads."""
    names = ("quantize", "dtype", "kv_dtype", "window", "sinks", "device", "gpu_layers")
    names += ("tensor_parallel", "adapters")
    return {name: getattr(args, name) for name in names}


# (flag, name of the keyword, type, help)
_SAMPLING: tuple[tuple[str, str, Any, str], ...] = (
    ("--temperature", "temperature", float, "0 is greedy; higher is more varied"),
    ("--top-k", "top_k", int, "keep the K likeliest tokens"),
    ("--top-p", "top_p", float, "keep the likeliest tokens up to probability P"),
    ("--min-p", "min_p", float, "drop tokens below P times the likeliest"),
    ("--seed", "seed", int, "the same seed gives the same text"),
    ("--repetition-penalty", "repetition_penalty", float, "above 1: less repetition"),
    ("--presence-penalty", "presence_penalty", float, "-2 to 2"),
    ("--frequency-penalty", "frequency_penalty", float, "-2 to 2"),
    ("--typical-p", "typical_p", float, "keep the tokens nearest to the entropy, up to P"),
    ("--top-n-sigma", "top_n_sigma", float, "keep logits within X standard deviations of the best"),
    ("--xtc-probability", "xtc_probability", float, "how often to leave out the likeliest"),
    ("--xtc-threshold", "xtc_threshold", float, "what counts as likely there (default 0.1)"),
    ("--mirostat-tau", "mirostat_tau", float, "keep the text's surprise near X bits"),
    ("--mirostat-eta", "mirostat_eta", float, "how fast that learns (default 0.1)"),
    ("--dry-multiplier", "dry_multiplier", float, "above 0: less repetition of sequences"),
    ("--dry-base", "dry_base", float, "how fast that grows with the length (default 1.75)"),
    ("--dry-allowed-length", "dry_allowed_length", int, "repetitions up to N are free (default 2)"),
    ("--no-repeat-ngram-size", "no_repeat_ngram_size", int, "no N tokens in a row twice"),
    ("--min-tokens", "min_tokens", int, "go on for at least N tokens"),
    ("--num-beams", "num_beams", int, "search with N beams; --n of the best are told"),
    ("--length-penalty", "length_penalty", float, "of beams: above 0 favours long texts (1)"),
    ("--guidance", "guidance_scale", float, "away from --negative: how strongly (1: not at all)"),
    ("--negative", "negative_prompt", str, "what to keep away from (the prompt's last token)"),
    ("--deadline-ms", "deadline_ms", float, "end after X milliseconds with what there is"),
)


_SPECULATE = {"auto": "auto", "on": True, "off": False}


def add_sampling(parser: argparse.ArgumentParser, max_tokens: int = 128) -> None:
    """How tokens are chosen; what is not given comes from generation_config.json, else greedy."""
    group = parser.add_argument_group(
        "sampling", "what is not given comes from generation_config.json, else greedy"
    )
    group.add_argument(
        "--max-tokens",
        type=int,
        default=max_tokens,
        metavar="N",
        help=f"most tokens to generate (default {max_tokens})",
    )
    for flag, name, kind, text in _SAMPLING:
        metavar = "N" if kind is int else "X"
        group.add_argument(flag, dest=name, type=kind, metavar=metavar, help=text)
    group.add_argument(
        "--stop",
        action="append",
        type=_unescape,
        metavar="TEXT",
        help="end before this text; \\n is a new line, \\t a tab (may be repeated)",
    )
    group.add_argument(
        "--stop-token-id", action="append", type=int, metavar="ID", help="end after this token"
    )
    group.add_argument(
        "--logit-bias",
        action="append",
        type=_bias,
        metavar="ID=X",
        help="add X to the logit of a token (may be repeated)",
    )
    group.add_argument("--ignore-eos", action="store_true", help="go on past the end token")
    group.add_argument(
        "--speculate",
        choices=_SPECULATE,
        help="guess tokens and verify several a step: the same text, sooner (default auto)",
    )
    group.add_argument(
        "--draft", metavar="DIR", help="a smaller model of the same vocabulary that guesses"
    )


def _unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


def _bias(text: str) -> tuple[int, float]:
    token, _, amount = text.partition("=")
    try:
        return int(token), float(amount)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not ID=NUMBER") from None


def sampling_options(args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Keywords for `generate` from the options, checked before a model is opened."""
    from genfast.sampling import Sampling

    options = {name: getattr(args, name) for _, name, _, _ in _SAMPLING}
    options |= {
        "max_tokens": args.max_tokens,
        "stop": args.stop,
        "stop_token_ids": args.stop_token_id,
        "logit_bias": dict(args.logit_bias) if args.logit_bias else None,
        "ignore_eos": args.ignore_eos or None,
        "speculate": _SPECULATE.get(args.speculate),
        **more,
    }
    options = {name: value for name, value in options.items() if value is not None}
    try:
        Sampling.make({}, options)
    except ValueError as error:
        raise Usage(str(error)) from None
    return options if args.draft is None else options | {"draft": args.draft}


def rates(usage: Any, timings: Any, finish_reason: str | None) -> str:
    """The line of figures at the end of a generation."""
    return (
        f"{usage.prompt_tokens} prompt + {usage.completion_tokens} new tokens ({finish_reason}); "
        f"first token after {timings.ttft_s * 1000:.0f} ms; "
        f"prefill {timings.prefill_tokens_per_second:.0f} tokens/s, "
        f"decode {timings.decode_tokens_per_second:.1f} tokens/s"
    )


def usage_json(usage: Any, timings: Any) -> dict[str, Any]:
    """Usage and timings of a result, for --json."""
    return {
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "draft_tokens": usage.draft_tokens,
            "accepted_tokens": usage.accepted_tokens,
            "cpu_seconds": usage.cpu_seconds,
            "bytes_moved": usage.bytes_moved,
            "kv_byte_seconds": usage.kv_byte_seconds,
        },
        "timings": {
            "ttft_s": timings.ttft_s,
            "prefill_s": timings.prefill_s,
            "decode_s": timings.decode_s,
            "prefill_tokens_per_second": timings.prefill_tokens_per_second,
            "decode_tokens_per_second": timings.decode_tokens_per_second,
        },
    }


def size(nbytes: float) -> str:
    """Bytes for people: decimal units, three digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}" if nbytes < 100 or unit == "B" else f"{nbytes:.0f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} TB" if nbytes < 1000 else f"{nbytes:.0f} TB"
