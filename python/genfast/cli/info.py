"""`genfast info`: what a model is, how much memory it takes, and what this machine has."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from genfast.cli.common import Usage, add_common, print_json, size

_EPILOG = """\
Nothing is loaded: the figures follow from config.json.

examples:
  genfast info                       this machine, and the bundled model
  genfast info DIR
  genfast info --config config.json  before downloading the weights
  genfast info DIR --json | jq .memory.int8.weights_bytes
"""


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="what a model is and how much memory it takes",
        description="Architecture, parameters and memory of a model; CPU and instruction set.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", metavar="DIR", help="default: the bundled model")
    parser.add_argument("--config", metavar="FILE", help="a config.json alone, instead of DIR")
    parser.add_argument(
        "--context", type=int, metavar="N", help="show the KV cache of N tokens (default: all)"
    )
    add_common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.model and args.config:
        raise Usage("DIR and --config exclude each other")
    if args.context is not None and args.context < 1:
        raise Usage(f"--context {args.context}; allowed: 1 or more")
    facts = collect(args.model, args.config, args.context)
    if args.json:
        print_json(facts)
    else:
        print("\n".join(_lines(facts)))
    return 0


def collect(model: str | None, config: str | None, context: int | None = None) -> dict[str, Any]:
    """Everything that is shown, as --json gives it."""
    import genfast
    from genfast.config import read_config, read_object
    from genfast.formats import WEIGHTS
    from genfast.sizing import sizes_of

    directory = _directory(model) if not config else None
    file = Path(config) if config else directory / "config.json"
    settings = read_object(file) if config else read_config(directory)
    sizes = sizes_of(settings, file)
    tokens = context or sizes.context
    kv_types = dict.fromkeys(WEIGHTS, "bfloat16") | {"float32": "float32"}
    architectures = settings.get("architectures")
    return {
        "path": str(directory or file),
        "model_type": sizes.model_type,
        "architecture": architectures[0] if isinstance(architectures, list) else None,
        "stored_dtype": settings.get("torch_dtype") or settings.get("dtype"),
        "parameters": sizes.parameters,
        "active_parameters": sizes.active_parameters,
        "layers": sizes.layers,
        "vocab_size": sizes.vocab_size,
        "context": sizes.context,
        "files_bytes": _files_bytes(directory),
        "state_bytes": sizes.state_bytes,
        "kv_bytes_per_token": {fmt: sizes.kv_bytes_per_token(fmt) for fmt in sizes.kv_formats},
        "memory": {
            fmt: {
                "weights_bytes": sizes.weight_bytes(fmt),
                "kv_dtype": kv_types[fmt],
                "kv_tokens": tokens,
                "kv_bytes": tokens * sizes.kv_bytes_per_token(kv_types[fmt]) + sizes.state_bytes,
            }
            for fmt in WEIGHTS
        },
        "cpu": genfast.cpu_info(),
        "genfast": genfast.__version__,
    }


def _directory(model: str | None) -> Path:
    if model is not None:
        return Path(model)
    import importlib.resources

    return Path(str(importlib.resources.files("genfast") / "data" / "default"))


def _files_bytes(directory: Path | None) -> int | None:
    if directory is None:
        return None
    return sum(path.stat().st_size for path in directory.glob("*.safetensors") if path.is_file())


def _lines(facts: dict[str, Any]) -> list[str]:
    cpu = facts["cpu"]
    name = facts["architecture"] or facts["model_type"]
    active = ""
    if facts["active_parameters"] != facts["parameters"]:
        active = f", {_count(facts['active_parameters'])} a token"
    lines = [
        f"model       {facts['path']}",
        f"kind        {name} (model_type {facts['model_type']})",
        f"parameters  {_count(facts['parameters'])}{active}; {facts['layers']} layers, "
        f"{facts['vocab_size']:,} tokens, context {facts['context']:,}",
    ]
    if facts["files_bytes"]:
        dtype = f" ({facts['stored_dtype']})" if facts["stored_dtype"] else ""
        lines.append(f"files       {size(facts['files_bytes'])}{dtype}")
    per_token = ", ".join(f"{fmt} {size(n)}" for fmt, n in facts["kv_bytes_per_token"].items())
    lines.append(f"KV a token  {per_token}")
    if facts["state_bytes"]:
        lines.append(f"state       {size(facts['state_bytes'])} a sequence, however long")
    lines += ["", "memory              weights    KV cache       together"]
    for fmt, row in facts["memory"].items():
        total = size(row["weights_bytes"] + row["kv_bytes"])
        lines.append(
            f"  {fmt:<15} {size(row['weights_bytes']):>10} {size(row['kv_bytes']):>11} {total:>14}"
        )
    tokens = next(iter(facts["memory"].values()))["kv_tokens"]
    lines.append(f"  (KV cache of {tokens:,} tokens: float32 for float32 weights, else bfloat16)")
    lines += [
        "",
        f"CPU         {cpu.get('brand') or 'unknown'}, {cpu.get('threads')} threads",
        f"kernels     {cpu.get('isa')} (of {', '.join(cpu.get('isas', []))})",
        f"genfast     {facts['genfast']}",
    ]
    return lines


def _count(n: int) -> str:
    for limit, unit in ((1e9, "billion"), (1e6, "million"), (1e3, "thousand")):
        if n >= limit:
            return f"{n / limit:.3g} {unit}"
    return str(n)
