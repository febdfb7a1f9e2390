"""What every model file is asked, whatever its family: the checks behind test_<model>.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import genfast
import numpy_model
import tolerance
from golden_cases import Case

DRAWS = 12  # of random roundings


def golden(case: Case) -> dict[str, np.ndarray]:
    with np.load(case.file) as f:
        found = dict(f)
    assert found["checksum"] == case.checksum(), f"stale: run tools/make_goldens.py {case.name}"
    return found


@contextmanager
def opened(case: Case, directory: Path, **options: object) -> Iterator[genfast.Model]:
    """The case's directory, written and loaded; float32 unless `options` say otherwise."""
    options = {"dtype": "float32", "kv_dtype": "float32"} | options
    with genfast.load(case.write(directory), **options) as model:
        yield model


def check_logits(case: Case, directory: Path, **options: object) -> None:
    """Every position of every sequence, as transformers has it."""
    expected = golden(case)
    with opened(case, directory, **options) as model:
        for i in range(3):
            got = model.logits(expected[f"ids_{i}"].tolist())
            assert got.dtype == np.float32
            assert got.shape == expected[f"logits_{i}"].shape
            apart = tolerance.relative_distance(got, expected[f"logits_{i}"])
            assert apart.max() <= tolerance.FLOAT32_LOGITS, (i, apart)


def check_greedy(case: Case, directory: Path, **options: object) -> None:
    """The greedy continuation to the last token: its margins are far above any rounding."""
    expected = golden(case)
    assert expected["margin"] >= 0.02
    with opened(case, directory, **options) as model:
        out = model.generate(
            expected["ids_1"].tolist(), max_tokens=len(expected["greedy"]), temperature=0
        )
    assert out.token_ids == expected["greedy"].tolist()
    assert out.finish_reason == "length"


def check_rounded(
    case: Case,
    directory: Path,
    rng: np.random.Generator,
    rounding: str,
    kv: str,
    **options: object,
) -> None:
    """bfloat16, int8 or int4 weights: off from transformers' float32 logits by what the roundings
    of that format do to this very model (tolerance.RandomRounding), and by no more.

    Over 33 positions the median of a distance is steady (draws differ by a third either way), so it
    may be 1.6 times the largest of the draws, where a wrong scale or group stands out; the worst
    position has a longer tail and gets twice. Below a fifth of the smallest, nothing was rounded.
    """
    expected = golden(case)
    ids, exact = expected["ids_2"], expected["logits_2"]
    tensors = case.tensors()
    draws = np.stack(
        [
            tolerance.relative_distance(
                numpy_model.logits(
                    case.config, tensors, ids, tolerance.RandomRounding(rng, rounding, kv)
                ),
                exact,
            )
            for _ in range(DRAWS)
        ]
    )
    if rounding == "bfloat16":
        options |= {"dtype": "bfloat16", "kv_dtype": kv}
    else:
        options |= {"quantize": rounding, "kv_dtype": kv}
    with opened(case, directory, **options) as model:
        apart = tolerance.relative_distance(model.logits(ids.tolist()), exact)
    medians = np.median(draws, axis=1)
    assert np.median(apart) <= 1.6 * medians.max(), (np.median(apart), medians)
    assert apart.max() <= 2 * draws.max(), (apart.max(), draws.max(axis=1))
    assert np.median(apart) >= 0.2 * medians.min(), "was anything rounded?"
