"""Is a model's confidence worth anything? Before and after calibration, on answers that are known.

    python bench/confidence.py [--data ../shared/data] [--answers 600]

Three tasks: a trained gpt2 that sorts six letters, drawn from at temperatures where it errs (its
answers are right or wrong beyond doubt); the next token of prose by the bundled model; the
next word of a story by stories260K (where the folder of models and texts has them). All figures are
of answers that neither the fit nor the choice of method has seen (nested cross-validation).
"""

from __future__ import annotations

import argparse
import gzip
import re
from pathlib import Path

import numpy as np
from report import table

import genfast

HEAD = ["task", "right", "ECE", "calibrated", "Brier", "calibrated", "AUROC", "wrong at 50 %", "by"]


def sorting(count: int, rng: np.random.Generator):
    """Six letters of three and what they are in order: ids without a tokenizer."""
    for _ in range(count):
        letters = rng.integers(0, 3, size=6).tolist()
        yield letters, sorted(letters)


def read(path: Path) -> str:
    """A text, or the ends of all in a folder, which the bundled model was not trained on: a line a
    paragraph, as it was."""
    if path.is_dir():
        texts = [gzip.decompress(p.read_bytes()).decode() for p in sorted(path.glob("*.txt.gz"))]
        text = "\n\n".join(text[-60_000:-20_000] for text in texts)  # before the licence
    else:
        text = path.read_text()[-100_000:] if path.is_file() else ""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", text.replace("\r", ""))


def next_tokens(model, text: str, count: int, rng: np.random.Generator):
    """128 tokens of prose, and the one that follows."""
    ids = model.tokenizer.encode(text, add_special_tokens=False)
    for place in rng.choice(np.arange(128, len(ids)), size=count, replace=False):
        yield ids[place - 128 : place], [ids[place]]


def story_words(model, count: int, rng: np.random.Generator):
    """Stories that the model itself tells, cut in the middle: it knows their words."""
    seeds = iter(range(10**6))
    while count > 0:
        told = model.generate(
            "Once upon a time", max_tokens=200, temperature=1.0, seed=next(seeds)
        ).text
        places = [m.end() for m in re.finditer(r"[a-z,] (?=[a-z]+[ ,.\n])", told)][8:]
        for place in rng.permutation(places)[:4]:
            word = re.match(r"[a-z]+", told[place:]).group()
            yield (
                "Once upon a time" + told[: place - 1],
                lambda out, word=word: re.match(r"\s*([a-zA-Z]*)", out.text).group(1) == word,
            )
            count -= 1


def row(name: str, calibration: genfast.Calibration) -> list[str]:
    r = calibration.report
    half = min(r.coverage, key=lambda c: abs(c[1] - 0.5))
    figures = (r.accuracy, r.ece_before, r.ece, r.brier_before, r.brier, r.auroc, half[2])
    return [name, *(f"{x:.3f}" for x in figures), f"{calibration.feature}, {calibration.method}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data")
    parser.add_argument("--answers", type=int, default=600)
    args = parser.parse_args()
    rng = np.random.default_rng(5)
    rows = [HEAD]
    sort_dir = args.data / "models/gpt-nano-sort"
    if sort_dir.is_dir():
        with genfast.load(sort_dir) as model:
            for temperature in (5.0, 7.0):
                labelled = sorting(args.answers, rng)
                fitted = genfast.calibrate(
                    model, labelled, max_tokens=6, temperature=temperature, seed=1
                )
                rows.append(row(f"sorting, drawn at temperature {temperature:g}", fitted))
    with genfast.load() as model:
        for name in ("gutenberg", "tinyshakespeare.txt", "wikitext-2/test.txt"):
            text = read(args.data / "text" / name)
            if text:
                labelled = next_tokens(model, text, args.answers, rng)
                fitted = genfast.calibrate(model, labelled, max_tokens=1, temperature=0)
                rows.append(row(f"the next token of {name}, bundled model", fitted))
    stories = args.data / "models/stories260K"
    if stories.is_dir():
        with genfast.load(stories) as model:
            labelled = story_words(model, args.answers, rng)
            fitted = genfast.calibrate(model, labelled, max_tokens=5, temperature=0)
            rows.append(row("the next word of a story, stories260K", fitted))
    print(table(rows))


if __name__ == "__main__":
    main()
