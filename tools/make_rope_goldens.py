#!/usr/bin/env python3
"""Writes tests/goldens/rope.json: the rotary frequencies transformers computes for some configs.

    python tools/make_rope_goldens.py

Needs torch and transformers; the test does not. A case is the fields of a LlamaConfig and, for one
or more sequence lengths, inv_freq (float32, in decimal) and the factor on cosines and sines.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

GOLDEN = Path(__file__).resolve().parents[1] / "tests/goldens/rope.json"

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
CASES: list[dict] = [
    {"head_dim": 64, "rope_theta": 10000.0},
    {"head_dim": 128, "rope_theta": 500000.0, "rope_scaling": {"rope_type": "default"}},
    {"head_dim": 80, "rope_theta": 1000000, "rope_scaling": {"type": "linear", "factor": 4}},
    {"head_dim": 48, "rope_parameters": {"rope_theta": 3e5, "rope_type": "linear", "factor": 2.5}},
    {
        "head_dim": 64,
        "max_position_embeddings": 2048,
        "rope_scaling": {"type": "dynamic", "factor": 4.0},
    },
    {
        "head_dim": 96,
        "max_position_embeddings": 100,
        "rope_parameters": {"rope_theta": 5e5, "rope_type": "dynamic", "factor": 2.0},
    },
    {"head_dim": 128, "max_position_embeddings": 16384, "rope_scaling": YARN},
    {
        "head_dim": 64,
        "rope_theta": 50000.0,
        "max_position_embeddings": 16384,
        "rope_scaling": {**YARN, "beta_fast": 20, "beta_slow": 2.0, "truncate": False},
    },
    {
        "head_dim": 64,
        "max_position_embeddings": 163840,
        "rope_scaling": {**YARN, "factor": 40, "mscale": 0.707, "mscale_all_dim": 1.0},
    },
    {"head_dim": 64, "rope_scaling": {**YARN, "attention_factor": 1.25}},
    {"head_dim": 32, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
    {
        "head_dim": 64,
        "rope_theta": 500000.0,
        "max_position_embeddings": 131072,
        "rope_scaling": {
            **LLAMA3,
            "rope_type": "llama3",
            "factor": 32.0,
            "original_max_position_embeddings": 8192,
        },
    },
    {
        "head_dim": 128,
        "max_position_embeddings": 4096,
        "rope_parameters": {
            **LLAMA3,
            "rope_theta": 1e6,
            "rope_type": "llama3",
            "high_freq_factor": 2.5,
        },
    },
    {
        "head_dim": 64,
        "rope_parameters": {
            "rope_theta": 10000.0,
            "rope_type": "linear",
            "factor": 2.0,
            "partial_rotary_factor": 0.5,
        },
    },
    {
        "head_dim": 80,
        "rope_scaling": {**YARN, "partial_rotary_factor": 0.4},
    },
]


def frequencies(fields: dict, length: int | None) -> dict:
    config = LlamaConfig(hidden_size=4 * fields["head_dim"], num_attention_heads=4, **fields)
    kind = config.rope_parameters["rope_type"]
    if kind == "default":
        inv_freq, scale = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        inv_freq, scale = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=length)
    assert inv_freq.dtype == torch.float32
    return {"length": length, "inv_freq": inv_freq.tolist(), "scale": float(scale)}


def main() -> None:
    goldens = []
    for case in CASES:
        scaling = {**case.get("rope_scaling", {}), **case.get("rope_parameters", {})}
        dynamic = "dynamic" in scaling.values()
        limit = case.get("max_position_embeddings", 2048)
        lengths = [limit, limit + 1, 3 * limit] if dynamic else [None]
        # transformers changes the dictionaries it is given
        answers = [frequencies(json.loads(json.dumps(case)), n) for n in lengths]
        goldens.append({"config": case, "answers": answers})
    GOLDEN.write_text("\n".join(["[", ",\n".join(map(json.dumps, goldens)), "]", ""]))


if __name__ == "__main__":
    main()
