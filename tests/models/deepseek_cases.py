"""Tiny configs of DeepSeek-V2 and V3, on those of Llama (families.py)."""

from __future__ import annotations

COMMON = {
    "num_key_value_heads": None,
    "first_k_dense_replace": 1,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
    "n_routed_experts": 6,
    "n_shared_experts": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 20,
}
V2 = {
    "base": {"q_lora_rank": None, "topk_method": "greedy"},
    "grouped": {
        "q_lora_rank": 20,
        "topk_method": "group_limited_greedy",
        "n_group": 3,
        "topk_group": 2,
        "routed_scaling_factor": 1.7,
        "rope_scaling": {
            "type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 24,
            "mscale": 0.707,
            "mscale_all_dim": 0.707,
            "beta_fast": 32,
            "beta_slow": 1,
        },
    },
    "bias": {
        "q_lora_rank": 12,
        "attention_bias": True,
        "num_attention_heads": 3,
        "hidden_size": 36,
        "kv_lora_rank": 14,
        "qk_nope_head_dim": 10,
        "v_head_dim": 20,
        "rms_norm_eps": 0.001,
        "tie_word_embeddings": True,
        "num_hidden_layers": 3,
        "first_k_dense_replace": 2,
    },
    "many_heads": {"q_lora_rank": None, "num_attention_heads": 20, "hidden_size": 40},
}
GROUPS = {"n_group": 3, "topk_group": 2, "num_nextn_predict_layers": 1}
V3 = {
    "base": {"q_lora_rank": 20},
    "plain": {
        "q_lora_rank": None,
        "n_group": 1,
        "topk_group": 1,
        "norm_topk_prob": False,
        "routed_scaling_factor": 1.0,
        "rope_interleave": False,
    },
    "yarn": {
        "q_lora_rank": 16,
        "attention_bias": True,
        "rms_norm_eps": 0.001,
        "num_hidden_layers": 3,
        "rope_scaling": {
            "type": "yarn",
            "factor": 8.0,
            "original_max_position_embeddings": 12,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
        },
    },
}
