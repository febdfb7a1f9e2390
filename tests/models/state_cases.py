"""Tiny configs of the families with recurrent state; Bamba's and Jamba's on those of Llama."""

from family import NOBODY

COMMON = {
    "hidden_size": 32,
    "state_size": 8,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    **NOBODY,
}
MAMBA = {
    "base": {},
    "bias": {"use_bias": True, "tie_word_embeddings": False, "time_step_rank": 5},
    "odd": {"hidden_size": 20, "expand": 3, "conv_kernel": 3, "use_conv_bias": False},
}
FALCON_MAMBA = {
    "base": {"tie_word_embeddings": False},
    "tied": {"mixer_rms_eps": 1e-2},
    "odd": {"hidden_size": 24, "expand": 1, "use_bias": True, "time_step_rank": 3},
}
HEADS = {"num_heads": 4, "head_dim": 16, "chunk_size": 8}
MAMBA2 = {
    "base": {"n_groups": 1},
    "groups": {"n_groups": 2, "tie_word_embeddings": True, "time_step_limit": [0.5, 2.0]},
    "odd": {
        "num_heads": 8,
        "head_dim": 8,
        "n_groups": 4,
        "conv_kernel": 2,
        "use_bias": True,
        "use_conv_bias": False,
        "layer_norm_epsilon": 1e-3,
    },
}
HYBRID = {
    "num_hidden_layers": 3,
    "mamba_n_heads": 8,
    "mamba_d_state": 16,
    "mamba_chunk_size": 8,
}
BAMBA = {
    "base": {"attn_layer_indices": [1]},
    "groups": {
        "attn_layer_indices": [0, 2],
        "mamba_n_groups": 2,
        "mamba_d_head": 16,
        "mamba_expand": 4,
        "mamba_d_conv": 3,
        "tie_word_embeddings": True,
    },
    "biases": {
        "attention_bias": True,
        "mlp_bias": True,
        "mamba_proj_bias": True,
        "mamba_conv_bias": False,
        "time_step_limit": [0.2, 1.5],
        "attn_layer_indices": [2],
    },
}
GRANITE = {
    "base": {
        "layer_types": ["mamba", "attention", "mamba"],
        "num_local_experts": 0,
        "shared_intermediate_size": 44,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.7,
        "logits_scaling": 2.0,
    },
    "rope": {
        "layer_types": ["attention", "mamba", "mamba"],
        "position_embedding_type": "rope",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "intermediate_size": 20,
        "shared_intermediate_size": 28,
        "attention_multiplier": 0.35,
        "tie_word_embeddings": True,
    },
    "biases": {
        "num_local_experts": 3,
        "num_experts_per_tok": 3,
        "shared_intermediate_size": 12,
        "layer_types": ["mamba", "mamba", "attention"],
        "attention_bias": True,
        "mamba_proj_bias": True,
        "mamba_n_groups": 2,
        "residual_multiplier": 1.3,
        "attention_multiplier": 0.3,
        "rms_norm_eps": 1e-2,
    },
}
RWKV_MATRIX_COMMON = {
    "hidden_size": 64,
    "head_size": 16,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    "tie_word_embeddings": False,
    **NOBODY,
}
# As published ones, num_attention_heads says nothing.
RWKV_MATRIX = {
    "base": {"num_attention_heads": 64, "attention_hidden_size": 64, "head_size_divisor": 8},
    "tied": {"tie_word_embeddings": True, "num_hidden_layers": 3, "intermediate_size": 44},
    "odd": {"hidden_size": 60, "head_size": 20, "intermediate_size": None, "rescale_every": 1},
}
# Heads of 64, as the peer's norm of a head has an eps for no others.
RWKV7_COMMON = {
    "hidden_size": 64,
    "head_dim": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    "tie_word_embeddings": False,
    "decay_low_rank_dim": 8,
    "a_low_rank_dim": 5,
    "v_low_rank_dim": 4,
    "gate_low_rank_dim": 16,
    **NOBODY,
}
RWKV7 = {
    "base": {"hidden_size": 128},
    "tied": {"tie_word_embeddings": True, "num_hidden_layers": 3, "norm_bias": False},
    "odd": {
        "hidden_size": 192,
        "head_dim": None,
        "num_heads": 3,
        "intermediate_size": 100,
        "value_dim": [192, 192],
    },
}
EVERY_THIRD = {"num_hidden_layers": 3, "attn_layer_period": 3, "attn_layer_offset": 1}
JAMBA = {
    "base": {"num_experts": 4},
    "dense": {"num_experts": 1, "num_experts_per_tok": 1, "mamba_dt_rank": 5},
    "every": {
        "num_experts": 3,
        "num_experts_per_tok": 1,
        "expert_layer_period": 1,
        "expert_layer_offset": 0,
        "attn_layer_period": 2,
        "mamba_d_state": 5,
        "mamba_proj_bias": True,
        "mamba_conv_bias": False,
        "tie_word_embeddings": True,
    },
}
RWKV_COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "vocab_size": 64,
    "context_length": 96,
    **NOBODY,
}
# A last layer whose stream upstream halves, and once more after it: what the norms' eps must know.
RWKV = {
    "base": {},
    "tied": {
        "tie_word_embeddings": True,
        "rescale_every": 1,
        "layer_norm_epsilon": 1e-2,
        "intermediate_size": 44,
    },
    # Upstream's cache takes attention_hidden_size for hidden_size.
    "odd": {
        "hidden_size": 20,
        "attention_hidden_size": 36,
        "rescale_every": 0,
        "use_cache": False,
    },
}
