"""What transformers' beam search was asked; see tools/make_beam_goldens.py."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np

import families
import golden_cases

GOLDEN = Path(__file__).resolve().parents[1] / "goldens/beams.json"
MODELS = ["llama-base", "gpt2-base", "llama-odd-sizes"]

# Under our names. Half of a random model's vocabulary as end tokens ends many hypotheses.
MANY_ENDS = list(range(0, 40, 3))
SETTINGS: list[dict] = [
    {"num_beams": 2, "max_tokens": 10},
    {"num_beams": 4, "max_tokens": 20, "n": 4},
    {"num_beams": 7, "max_tokens": 9, "n": 3, "length_penalty": 0.0},
    {"num_beams": 4, "max_tokens": 16, "n": 4, "stop_token_ids": [5]},
    {"num_beams": 4, "max_tokens": 24, "n": 4, "stop_token_ids": MANY_ENDS},
    {"num_beams": 3, "max_tokens": 24, "n": 3, "stop_token_ids": MANY_ENDS, "length_penalty": 2.0},
    {"num_beams": 3, "max_tokens": 24, "n": 3, "stop_token_ids": MANY_ENDS, "length_penalty": -1.5},
    {"num_beams": 4, "max_tokens": 24, "n": 4, "stop_token_ids": [5, 9], "early_stopping": True},
    {"num_beams": 4, "max_tokens": 24, "n": 4, "stop_token_ids": MANY_ENDS, "early_stopping": True},
    {"num_beams": 4, "max_tokens": 18, "n": 4, "stop_token_ids": [5, 9], "early_stopping": "never"},
    {
        "num_beams": 4,
        "max_tokens": 18,
        "n": 2,
        "stop_token_ids": MANY_ENDS,
        "early_stopping": "never",
        "length_penalty": 0.0,
    },
    {
        "num_beams": 4,
        "max_tokens": 18,
        "n": 2,
        "stop_token_ids": MANY_ENDS,
        "early_stopping": "never",
        "length_penalty": 1.7,
    },
    {"num_beams": 4, "max_tokens": 20, "n": 4, "stop_token_ids": MANY_ENDS, "min_tokens": 8},
    {"num_beams": 4, "max_tokens": 15, "n": 2, "repetition_penalty": 1.4},
    {"num_beams": 40, "max_tokens": 6, "n": 40},
]

# Families with recurrent state: beams that part must take it along.
STATE_MODELS = ["mamba-base", "bamba-base"]
STATE_SETTINGS = [*SETTINGS[:5], *SETTINGS[12:14]]

# Guided: one or more of these words, in a row. Token i is letter i; many others end the text.
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ENDS = list(range(len(LETTERS), 40))
WORDS = ["ab", "cde", "fghi", "jk", "lmnop", "qrs", "tu", "vwx", "yz"]
GUIDED: list[dict] = [
    {"num_beams": 2, "max_tokens": 40, "words": WORDS, "early_stopping": True},
    {"num_beams": 4, "max_tokens": 40, "n": 4, "words": WORDS, "early_stopping": True},
    {"num_beams": 4, "max_tokens": 40, "n": 4, "words": WORDS, "length_penalty": -1.0},
    {"num_beams": 6, "max_tokens": 40, "n": 6, "words": WORDS, "length_penalty": 0.0},
    {"num_beams": 4, "max_tokens": 40, "n": 4, "words": WORDS, "repetition_penalty": 1.3},
]


def settings_of(model: str) -> list[dict]:
    return STATE_SETTINGS if model in STATE_MODELS else SETTINGS + GUIDED


def write(model: str, directory: Path) -> Path:
    known = {**golden_cases.CASES, **{family.id: family for family in families.CASES}}
    return known[model].write(directory)


def prompt(model: str, settings: dict) -> list[int]:
    seed = zlib.crc32(f"{model} {json.dumps(settings)}".encode())
    return np.random.default_rng(seed).integers(0, 60, 1 + seed % 12).tolist()


def may_follow(words: list[str], tokens) -> list[int]:
    """Which tokens may follow these of a text of words, none of which begins another."""
    text = "".join(LETTERS[t] for t in tokens if t < len(LETTERS))
    rest = re.sub("|".join(words), "", text)
    ends = [] if rest or not text else ENDS
    return ends + [LETTERS.index(w[len(rest)]) for w in words if w.startswith(rest)] or ENDS


def load_transformers(directory: Path):
    import torch
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager"
    ).eval()


def transformers_beams(model, ids: list[int], settings: dict) -> tuple[list[list[int]], list]:
    """The tokens of each of the n best, end token included, and their scores."""
    import torch

    settings = dict(settings)
    words = settings.pop("words", None)
    guide = {}
    if words:
        settings["stop_token_ids"] = ENDS
        guide["prefix_allowed_tokens_fn"] = lambda _, row: may_follow(words, row[len(ids) :])

    theirs = {
        "n": "num_return_sequences",
        "max_tokens": "max_new_tokens",
        "min_tokens": "min_new_tokens",
        "stop_token_ids": "eos_token_id",
    }
    ends = ENDS if words else settings.get("stop_token_ids", [])
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            **{theirs.get(name, name): value for name, value in settings.items()},
            **guide,
            pad_token_id=0,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
    tokens = []
    for row in out.sequences[:, len(ids) :].tolist():
        end = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
        tokens.append(row[:end])
    return tokens, out.sequences_scores.tolist()
