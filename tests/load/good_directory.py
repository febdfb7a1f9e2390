"""The small model directory that all the damage of corpus.py starts from."""

from __future__ import annotations

import json
from pathlib import Path

import tiny_model

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "vocab_size": 32,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 16,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
    },
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
GENERATION = {"do_sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "eos_token_id": [1]}
LETTERS = "abcdefghijklmnopqrstuvwxyz .,!"
TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {
            "id": i,
            "content": content,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, content in enumerate(["<s>", "</s>"])
    ],
    "model": {
        "type": "BPE",
        "vocab": {"<s>": 0, "</s>": 1, **{c: i + 2 for i, c in enumerate(LETTERS)}},
        "merges": [],
    },
    "decoder": {"type": "Fuse"},
}
FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
NORM = "model.norm.weight"


def write_good(directory: Path, shards: int = 1) -> Path:
    """The directory that all the damage starts from."""
    tiny_model.write_model(directory, CONFIG, seed=3, shards=shards)
    (directory / "generation_config.json").write_text(json.dumps(GENERATION))
    (directory / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    return directory
