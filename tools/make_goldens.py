#!/usr/bin/env python3
"""What transformers answers to the tiny models of tests/models/golden_cases.py: the tests hold
genfast to it.

    python tools/make_goldens.py [CASE ...]     # none named: all, and the bundled model's

Needs torch and transformers; the tests do not. A golden is tests/goldens/CASE.npz:

    checksum      of config and weights, so that a stale golden is seen
    ids_0..2      int32 [T], three sequences of different length
    logits_0..2   float32 [T, V], at every position, computed in float32
    greedy        int32 [N], the greedy continuation of ids_1
    margin        float, the smallest lead of a greedy token over the next best, in logits

The bundled model's golden, tests/goldens/bundled.npz, holds two texts, what transformers makes of
them (ids_i, logits_i), and the CRC of the weights it was made with.

A sequence is fed one token at a time through transformers' cache. Where all at once means the
same, it is checked to agree. It does not for dynamic rope scaling beyond max_position_embeddings:
transformers then takes the frequencies of the longest position of the *call* for every token in it,
so a prompt's answer depends on how it was cut. One token at a time, position p has the frequencies
of length p + 1, which is genfast's definition.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"
BUNDLED = ROOT / "python/genfast/data/default"
BUNDLED_TEXTS = ("Once upon a time", 'Naïve?" — he said')
sys.path[:0] = [str(TESTS), str(TESTS / "models")]
from golden_cases import CASES, Case  # noqa: E402

LENGTHS = (3, 12, 33)  # the last beyond the original length of every scaled case
CONTINUE = 40
MIN_MARGIN = 2e-2  # in logits whose standard deviation is near 1: far above any rounding


def load(directory: Path) -> transformers.PreTrainedModel:
    """The model in float32, with the plain attention (reorder_and_upcast_attn needs it)."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for problem in ("missing_keys", "mismatched_keys"):
        if info[problem]:
            raise SystemExit(f"{directory}: {problem}: {info[problem]}")
    return model.eval()


@torch.no_grad()
def stepped(model: transformers.PreTrainedModel, ids: np.ndarray, more: int = 0) -> tuple:
    """Logits [T + more, V] of ids and of `more` greedy tokens after them, and those tokens."""
    cache, rows, new = transformers.DynamicCache(), [], []
    tokens = [int(i) for i in ids]
    for t in range(len(ids) + more):
        out = model(torch.tensor([[tokens[t]]]), past_key_values=cache, use_cache=True)
        rows.append(out.logits[0, -1].numpy())
        if t >= len(ids) - 1 and len(new) < more:
            new.append(int(rows[-1].argmax()))
            tokens.append(new[-1])
    return np.stack(rows), np.array(new, np.int32)


@torch.no_grad()
def at_once(model: transformers.PreTrainedModel, ids: np.ndarray) -> np.ndarray:
    return model(torch.tensor(ids[None].astype(np.int64))).logits[0].numpy()


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest relative distance of a position's logits."""
    return float((np.linalg.norm(a - b, axis=-1) / np.linalg.norm(b, axis=-1)).max())


def is_dynamic(case: Case) -> bool:
    scaling = case.config.get("rope_scaling") or case.config.get("rope_parameters") or {}
    return "dynamic" in (scaling.get("type"), scaling.get("rope_type"))


def plain_rope(case: Case) -> dict | None:
    """The config with its rope scaling taken out; None when it has none."""
    drop = ("rope_scaling", "rope_parameters")
    if not any(case.config.get(k) for k in drop):
        return None
    config = {k: v for k, v in case.config.items() if k not in drop}
    parameters = case.config.get("rope_parameters") or case.config
    if parameters.get("rope_type") == "default":
        return config  # the theta is all that it sets
    return config | {"rope_theta": parameters["rope_theta"]}


def make(case: Case, workdir: Path) -> dict[str, np.ndarray]:
    model = load(case.write(workdir / case.name))
    vocab = case.config["vocab_size"]
    for attempt in range(50):
        rng = np.random.default_rng([case.seed, attempt])
        ids = [rng.integers(0, vocab, n).astype(np.int32) for n in LENGTHS]
        rows, greedy = stepped(model, ids[1], CONTINUE)
        top = np.sort(rows[LENGTHS[1] - 1 : LENGTHS[1] - 1 + CONTINUE], axis=-1)
        margin = float((top[:, -1] - top[:, -2]).min())
        if margin >= MIN_MARGIN:
            break
    else:
        raise SystemExit(f"{case.name}: no prompt whose greedy tokens lead by {MIN_MARGIN}")
    logits = [stepped(model, x)[0] for x in ids]
    apart = max(distance(at_once(model, x), y) for x, y in zip(ids, logits, strict=True))
    if is_dynamic(case):
        if apart < 1e-3:
            raise SystemExit(f"{case.name}: dynamic scaling did not show beyond its length")
    elif apart > 1e-5:
        raise SystemExit(f"{case.name}: one by one and at once differ by {apart:.1e}")
    note = f"margin {margin:.3f}, std {logits[2].std():.2f}, at once {apart:.0e}"
    if (config := plain_rope(case)) is not None:
        plain = load(Case("plain", config, case.seed).write(workdir / f"{case.name}-plain"))
        effect = distance(stepped(plain, ids[2])[0], logits[2])
        if effect < 1e-2:
            raise SystemExit(f"{case.name}: the scaling changes logits by {effect:.0e} only")
        note += f", scaling changes {effect:.2f}"
    print(f"{case.name}: {note}")
    arrays = {f"ids_{i}": x for i, x in enumerate(ids)}
    arrays |= {f"logits_{i}": x.astype(np.float32) for i, x in enumerate(logits)}
    return arrays | {
        "greedy": greedy,
        "margin": np.float32(margin),
        "checksum": np.uint32(case.checksum()),
        "made_by": np.array(f"transformers {transformers.__version__} torch {torch.__version__}"),
    }


def make_bundled() -> dict[str, np.ndarray]:
    model, tokenizer = load(BUNDLED), transformers.AutoTokenizer.from_pretrained(BUNDLED)
    crc = zlib.crc32((BUNDLED / "model.safetensors").read_bytes())
    arrays = {"crc": np.uint32(crc), "texts": np.array(BUNDLED_TEXTS)}
    for i, text in enumerate(BUNDLED_TEXTS):
        arrays[f"ids_{i}"] = np.array(tokenizer(text)["input_ids"], np.int32)
        arrays[f"logits_{i}"] = at_once(model, arrays[f"ids_{i}"])
    return arrays


def main() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(CASES)
    with tempfile.TemporaryDirectory() as workdir:
        for name in names:
            case = CASES[name]
            case.file.parent.mkdir(exist_ok=True)
            np.savez_compressed(case.file, **make(case, Path(workdir)))
    if not sys.argv[1:]:
        np.savez_compressed(TESTS / "goldens/bundled.npz", **make_bundled())
    total = sum(c.file.stat().st_size for c in CASES.values() if c.file.exists())
    print(f"{total / 1000:.0f} KB in tests/goldens")


if __name__ == "__main__":
    main()
