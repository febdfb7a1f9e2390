"""Tiny configs of gpt-oss, on those of Llama (families.py)."""

from __future__ import annotations

COMMON = {"head_dim": 8, "num_local_experts": 5, "num_experts_per_tok": 2}
CASES = {
    "base": {"sliding_window": 6},
    "plain": {
        "sliding_window": 9,
        "layer_types": ["full_attention", "sliding_attention"],
        "attention_bias": False,
        "num_experts_per_tok": 3,
        "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    "yarn": {
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 8.0,
            "beta_fast": 4.0,
            "beta_slow": 0.5,
            "original_max_position_embeddings": 16,
            "truncate": False,
        },
        "num_local_experts": 4,
        "num_experts_per_tok": 4,
    },
    "mxfp4": {
        "sliding_window": 7,
        "intermediate_size": 64,
        "quantization_config": {"quant_method": "mxfp4"},
    },
}
