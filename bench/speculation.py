"""What speculation gains where a text repeats its prompt, and what it costs where it does not.

    python bench/speculation.py 135M           int8; the models are made if need be
    python bench/speculation.py 1B --rounds 5

The texts are this repository's own: a page and every fourth sentence of it (a summary); a source
file and the same after a variable was renamed and lines were added (an edit); half a page and its
other half, of prose, which repeats little, and of a table, whose pieces return with something else
behind them. A model of a real shape is made to say them (replay.py), and a small one to guess the
prose with every so many tokens wrong. The bundled model says what it likes. Each round decodes a
prompt with speculation off and "auto" in turn; tokens/s by the engine's own clock, medians over the
rounds, and the answers are compared.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from replay import SHAPES, Replay

import genfast

Row = tuple[str, dict[str, float]]
DRAFT = "20M"
ROOT = Path(__file__).resolve().parent.parent


def scripts() -> Iterator[tuple[str, str, str]]:
    """(name, prompt, answer)."""
    page = (ROOT / "docs/engine.md").read_text().split("## A step")[1]
    page = re.sub(r"\s+", " ", page)
    sentences = re.split(r"(?<=[.:]) ", page)
    yield "summary", page + "\n\nIn short: ", " ".join(sentences[::4])
    source = (ROOT / "python/genfast/sampling_checks.py").read_text()
    source = source[source.index("def integer(") : source.index("def token_id(")]
    yield "edit", source + "\n\nThe same with shorter names:\n\n", edited(source)
    page = (ROOT / "docs/performance.md").read_text()
    prose = page[: page.index("## Attention, sampler")]
    table = page[page.index("<!-- peers -->") : page.index("<!-- /peers -->")]
    for name, text in (("prose", prose), ("table", table)):
        middle = len(text) // 2
        yield name, text[:middle], text[middle:]


def edited(source: str) -> str:
    """A variable has another name, and each function a line more."""
    source = re.sub(r"\bvalue\b", "given", source)
    return re.sub(r"(\ndef \w+\(.*:\n)", r"\1    log.debug('checking')\n", source)


def compare(model: genfast.Model, prompt, options: dict, rounds: int, **auto) -> dict[str, float]:
    """Off against "auto", which gets what else is given."""
    ratios, rates, answers = [], {False: [], "auto": []}, []
    for _ in range(rounds + 1):  # the first warms up, and fills the prefix cache
        for speculate in rates:
            more = auto if speculate else {}
            out = model.generate(prompt, speculate=speculate, **more, **options)
            rates[speculate].append(out.timings.decode_tokens_per_second)
            answers.append(out.token_ids)
        ratios.append(rates["auto"][-1] / rates[False][-1])
    assert all(tokens == answers[0] for tokens in answers), "speculation changed the answer"
    return {
        "tokens": len(answers[0]),
        "off": statistics.median(rates[False][1:]),
        "auto": statistics.median(rates["auto"][1:]),
        "ratio": statistics.median(ratios[1:]),
        "accepted_share": out.usage.accepted_tokens / max(1, len(out.token_ids) - 1),
    }


def replayed(directory: Path, shape: str, quantize, rounds: int, most: int) -> Iterator[Row]:
    with genfast.load(progress=False) as bundled:
        encode = bundled.tokenizer.encode
        texts = [(name, encode(a), encode(b)) for name, a, b in scripts()]
    replay = Replay(directory, shape)
    for name, prompt, answer in texts:
        path = replay.model(name, prompt, answer)
        with genfast.load(path, quantize=quantize, kv_cache_bytes=2 << 30, progress=False) as model:
            new = min(most, len(answer))
            options = {"max_tokens": new, "temperature": 0, "ignore_eos": True}
            said = model.generate(prompt, **options).token_ids
            assert said == answer[:new], "the model does not keep to its script"
            yield f"{shape} {name}", compare(model, prompt, options, rounds)


def drafted(directory: Path, shape: str, quantize, rounds: int, most: int) -> Iterator[Row]:
    """Prose, by which a text tells little of itself, with a draft model that is a small one's shape
    and says every `wrong`-th token wrong."""
    with genfast.load(progress=False) as bundled:
        encode = bundled.tokenizer.encode
        prompt, answer = next((encode(a), encode(b)) for name, a, b in scripts() if name == "prose")
    options = {"max_tokens": min(most, len(answer)), "temperature": 0, "ignore_eos": True}
    load = {"quantize": quantize, "kv_cache_bytes": 1 << 30, "progress": False}
    path = Replay(directory / shape, shape).model("prose", prompt, answer)
    small = Replay(directory / DRAFT, DRAFT)
    with genfast.load(path, **load) as model:
        for wrong in (8, 4, 2):
            # Its script does not depend on what was said: after a wrong token it is right again.
            guesses = [0 if i % wrong == 0 else token for i, token in enumerate(answer, 1)]
            with genfast.load(small.model(f"wrong{wrong}", prompt, guesses), **load) as draft:
                name = f"{shape} prose, {DRAFT} drafts, 1 of {wrong} wrong"
                yield name, compare(model, prompt, options, rounds, draft=draft)


def bundled(rounds: int) -> Iterator[Row]:
    """The model that ships: short, and trained on plays."""
    scene = (
        "ROMEO:\nIf I profane with my unworthiest hand\nThis holy shrine, the gentle sin is this"
    )
    with genfast.load(progress=False) as model:
        for name, extra in (
            ("greedy", {"temperature": 0}),
            ("temperature 0.8", {"temperature": 0.8, "seed": 1}),
            ("temperature 1, penalties", {"temperature": 1, "presence_penalty": 1, "seed": 2}),
        ):
            options = {"max_tokens": 300, "ignore_eos": True, **extra}
            yield f"bundled, {name}", compare(model, scene, options, 3 * rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=[shape for shape in SHAPES if shape != DRAFT])
    parser.add_argument("--dir", type=Path, help="where models are made, and kept")
    parser.add_argument("--quantize", choices=["int8", "int4", "none"], default="int8")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=400, help="of an answer, at most")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    quantize = None if args.quantize == "none" else args.quantize
    results = {}
    if not args.json:
        print(f"{'':<42} {'tokens':>6} {'off':>8} {'auto':>8} {'ratio':>6} {'guessed':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        directory = args.dir or Path(scratch)
        for name, row in itertools.chain(
            replayed(directory / args.shape, args.shape, quantize, args.rounds, args.tokens),
            drafted(directory, args.shape, quantize, args.rounds, args.tokens),
            bundled(args.rounds),
        ):
            results[name] = row
            if not args.json:
                print(
                    f"{name:<42} {row['tokens']:>6} {row['off']:>8.1f} {row['auto']:>8.1f} "
                    f"{row['ratio']:>6.2f} {row['accepted_share']:>8.0%}",
                    flush=True,
                )
    if args.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
