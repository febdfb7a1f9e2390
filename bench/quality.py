"""How far each format's next-token distribution is from float32's, beside llama.cpp's formats.

Text is cut into windows, and every engine is given the same token ids of the same trained weights.
At each position: the KL divergence of its distribution from genfast's in float32, in nats, and
whether the likeliest token is the same; over a window's own tokens, the perplexity. Tiny models are
the hardest case: their rows are short, and nothing averages out.

Peers are optional. llama.cpp (pip install llama-cpp-python gguf): its Q8_0 and Q4_0 are made by its
own quantiser from float32, and its float32 must agree with genfast's first, or the run stops. Where
a row is no multiple of 32 long (stories260K's down_proj) it keeps float16. CTranslate2 (pip install
ctranslate2): its int8 has a scale a row, for weights and activations, as genfast's has.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from engines import engine_class
from engines.source import Source
from engines.worker import Worker, installed
from report import divergence, insert, log_softmax, table
from simulated import CHOICES, Rounding, Simulation

import genfast

_ROOT = Path(__file__).resolve().parents[1]
_DATA = _ROOT.parent / "shared/data"
_EPILOG = """\
examples:
  python bench/quality.py                                the bundled model, and stories260K
  python bench/quality.py --tokens 2048 --models DIR     a Llama directory of yours, faster
  python bench/quality.py --choices                      other formats, simulated in numpy: why
                                                         int8 and int4 are what they are
  python bench/quality.py --report docs/performance.md   the table into the page, between the marks
                                                         <!-- quality --> and <!-- /quality -->
  python bench/quality.py --golden tests/goldens/quality.json
                                                         the peers' figures on the text in the file,
                                                         to which a test holds genfast
"""
_FORMATS = ["f32", "bf16", "int8", "int4", "fp8"]
_LARGEST_APART = 2e-2  # at the worst of windows; a wrong conversion gives 1 and more

Windows = list[list[int]]


def windows_of(model: Path, text: str, tokens: int, length: int) -> Windows:
    """About `tokens` ids of the text in windows of `length`, spread evenly over it; each starts as
    the tokenizer starts a text."""
    with genfast.load(model, threads=1, progress=False) as opened:
        start = opened.tokenizer.encode("")
        ids = opened.tokenizer.encode(text, add_special_tokens=False)
    length -= len(start)
    count = max(1, min(tokens // length, len(ids) // length))
    starts = np.linspace(0, max(0, len(ids) - length), count).astype(int)
    return [start + ids[at : at + length] for at in starts]


class Tally:
    """Sums up windows: give `add` float32's logits and another's, [T, V] each."""

    def __init__(self) -> None:
        self._kl: list[np.ndarray] = []
        self._same: list[np.ndarray] = []
        self._surprise: list[np.ndarray] = []

    def add(self, ids: list[int], reference: np.ndarray, logits: np.ndarray) -> None:
        kl, same = divergence(reference, logits)
        self._kl.append(kl)
        self._same.append(same)
        self._surprise.append(-log_softmax(logits[:-1])[np.arange(len(ids) - 1), ids[1:]])

    def figures(self) -> dict[str, float]:
        kl = np.concatenate(self._kl)
        return {
            "kl": float(kl.mean()),
            "kl 99%": float(np.quantile(kl, 0.99)),
            "top-1": float(np.concatenate(self._same).mean()),
            "perplexity": float(np.exp(np.concatenate(self._surprise).mean())),
        }


def tally(windows: Windows, reference: list[np.ndarray], logits_of) -> dict[str, float]:
    result = Tally()
    for ids, expected in zip(windows, reference, strict=True):
        result.add(ids, expected, logits_of(ids))
    return result.figures()


def reference_of(model: Path, windows: Windows, threads: int, work: Path) -> list[np.ndarray]:
    with Worker("genfast", model, "f32", threads, work) as worker:
        return [worker("all_logits", ids) for ids in windows]


def check_same_model(model: Path, ids: list[int], expected: np.ndarray, args) -> None:
    """Stops where llama.cpp's float32 logits are further from ours than its float16 cache moves
    them; measured against their spread."""
    with Worker("llama.cpp", model, "f32", args.threads, args.work) as worker:
        apart = np.abs(worker("all_logits", ids) - expected).max() / expected.std()
    print(f"{model.name}: llama.cpp's float32 logits are {apart:.1e} away at most", file=sys.stderr)
    if not apart < _LARGEST_APART:
        raise SystemExit(
            f"{model}: llama.cpp's float32 logits are {apart:.1e} of their spread away from "
            "genfast's; the conversion is wrong, and no divergence would mean anything"
        )


def compare(model: Path, windows: Windows, args) -> dict[str, dict[str, float]]:
    """{"genfast int8": figures, "llama.cpp Q8_0": figures ...}"""
    engines, missing = installed(["genfast", "llama.cpp", "CTranslate2"])
    for name, why in missing.items():
        print(f"{name}: {why}", file=sys.stderr)
    reference = reference_of(model, windows, args.threads, args.work)
    if "llama.cpp" in engines:
        check_same_model(model, windows[0], reference[0], args)
    rows = {}
    for fmt in _FORMATS:
        for name in engines:
            called = engine_class(name).FORMATS.get(fmt)
            if not called:
                continue
            with Worker(name, model, fmt, args.threads, args.work) as worker:
                figures = tally(windows, reference, lambda ids, w=worker: w("all_logits", ids))
            rows[f"{name} {called}"] = figures
    return rows


def simulate(model: Path, windows: Windows) -> dict[str, dict[str, float]]:
    source = Source(model)
    simulation = Simulation(source.config, source.all_float32())
    source.close()
    reference = [simulation.logits(ids) for ids in windows]
    rows = {}
    for name, choice in CHOICES.items():
        rounding = Rounding(choice)
        rows[name] = tally(windows, reference, lambda ids, r=rounding: simulation.logits(ids, r))
    return rows


def text_of(results: dict[str, dict[str, dict[str, float]]], head: str) -> str:
    """A line a format, the models side by side."""
    lines = [["", *(f"{model}: {what}" for model in results for what in _COLUMNS)]]
    for name in next(iter(results.values())):
        lines.append([name])
        for rows in results.values():
            lines[-1] += [show(rows[name][key]) for key, show in _COLUMNS.items()]
    return f"{head}\n\n{table(lines)}"


_COLUMNS = {
    "kl": lambda x: f"{x:.1e}" if x < 1e-6 else f"{x:.6f}",
    "kl 99%": lambda x: f"{x:.1e}" if x < 1e-5 else f"{x:.4f}",
    "top-1": lambda x: f"{100 * x:.2f} %",
    "perplexity": lambda x: f"{x:.3f}",
}


def record_golden(path: Path, args) -> None:
    """The peers' figures on the file's own text, into the file."""
    golden = json.loads(path.read_text())
    windows = windows_of(args.models[0], golden["text"], args.tokens, args.window)
    rows = compare(args.models[0], windows, args)
    golden["windows"] = windows
    golden["peers"] = {name: row for name, row in rows.items() if not name.startswith("genfast")}
    golden["versions"] = {name: version(name) for name in ("llama-cpp-python", "ctranslate2")}
    golden["date"] = datetime.date.today().isoformat()
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
    print(text_of({args.models[0].name: rows}, str(path)))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python bench/quality.py",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models = [Path(genfast.__file__).parent / "data/default", _DATA / "models/stories260K"]
    add = parser.add_argument
    add("--models", nargs="+", type=Path, metavar="DIR", default=models)
    add("--text", type=Path, metavar="FILE", default=_DATA / "text/wikitext-2/test.txt")
    add("--tokens", type=int, default=8192, metavar="N", help="in all (default: 8192)")
    add("--window", type=int, default=256, metavar="N", help="tokens of context (default: 256)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--work", type=Path, metavar="DIR", help="keeps what was converted (default: temporary)")
    add("--choices", action="store_true", help="simulate other formats instead")
    add("--report", type=Path, metavar="FILE", help="put the table into this page")
    add("--golden", type=Path, metavar="FILE", help="record the peers' figures in this file")
    args = parser.parse_args()
    if not 2 <= args.window <= 2048 or args.tokens < args.window:
        parser.error("--window: 2 to 2048; --tokens: at least a window")
    with tempfile.TemporaryDirectory() as temporary:
        args.work = args.work or Path(temporary)
        args.work.mkdir(parents=True, exist_ok=True)
        if args.golden:
            return record_golden(args.golden, args)
        missing = [str(path) for path in (args.text, *args.models) if not path.exists()]
        if missing:
            print(f"nothing to compare: no {', '.join(missing)} here (--text, --models)")
            return
        results = {}
        for model in args.models:
            windows = windows_of(model, args.text.read_text(), args.tokens, args.window)
            rows = simulate(model, windows) if args.choices else compare(model, windows, args)
            results[model.name] = rows
    what = "choices" if args.choices else "quality"
    text = text_of(
        results,
        f"{args.text.parent.name} {args.text.stem}, {args.tokens} tokens in windows of "
        f"{args.window}, {datetime.date.today().isoformat()}",
    )
    print(text)
    if args.report:
        insert(args.report, what, text)


if __name__ == "__main__":
    main()
