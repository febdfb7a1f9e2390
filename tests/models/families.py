"""Tiny configs of every family, and their weights, a row each; see tools/make_family_goldens.py.

The names and shapes of a model's tensors are transformers' own (they stand in the golden), the
numbers are made again from them wherever they are needed.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import gpt_oss_cases
import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens/families"
NOBODY = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 96,
    "tie_word_embeddings": False,
    **NOBODY,
}
GPT = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 96,
    "vocab_size": 64,
    **NOBODY,
}
MAMBA = {
    "hidden_size": 32,
    "state_size": 8,
    "num_hidden_layers": 2,
    "vocab_size": 64,
    **NOBODY,
}
SLIDES = ["sliding_attention", "full_attention"]


@dataclass(frozen=True)
class Family:
    """A config of `model_type`, under a name of its own."""

    model_type: str
    name: str
    config: dict

    @property
    def id(self) -> str:
        return f"{self.model_type}-{self.name}"

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.id}.npz"

    def full_config(self) -> dict:
        return {"model_type": self.model_type, **self.config}

    def tensors(self, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
        # Gemma multiplies its embedding by the root of the hidden size.
        embed = 0.15 if self.model_type.startswith("gemma") else 1.2
        return {name: numbers(name, tuple(shape), embed) for name, shape in shapes.items()}

    def checksum(self, shapes: dict[str, list[int]]) -> int:
        crc = zlib.crc32(json.dumps([self.full_config(), shapes], sort_keys=True).encode())
        for name, tensor in self.tensors(shapes).items():
            crc = zlib.crc32(tensor.tobytes(), zlib.crc32(name.encode(), crc))
        return crc


def numbers(name: str, shape: tuple[int, ...], embed: float) -> np.ndarray:
    """A function of name and shape alone; far from trivial, as in tiny_model. float32, but of MXFP4
    the bytes."""
    u = tiny_model.uniform(3, name, shape)
    if name.endswith("_blocks"):
        return ((u + 1) * 128).astype(np.uint8)
    if name.endswith("_scales"):
        return (124 + u).astype(np.uint8)  # 2^-4 or 2^-3
    if name.endswith(".bias"):
        return (u * 0.4).astype(np.float32)
    if name.endswith("A_log"):  # of states that last for a few tokens, not one
        return u - np.float32(1)
    if len(shape) == 1 or "norm" in name:
        return (1 + 0.4 * u).astype(np.float32)
    if "emb" in name or "wte" in name or "wpe" in name:
        return (u * (0.6 if "pos" in name or "wpe" in name else embed)).astype(np.float32)
    queries = ("q_proj", "k_proj", "c_attn", "query_key_value", "qkv", "Wqkv")
    gain = 1.8 if any(part in name for part in queries) else 1.2
    return (u * np.float32(gain * (3 / shape[-1]) ** 0.5)).astype(np.float32)


def of(model_type: str, common: dict, /, **cases: dict) -> list[Family]:
    return [Family(model_type, name, {**common, **changes}) for name, changes in cases.items()]


CASES = [
    *of(
        "mistral",
        LLAMA,
        base={"sliding_window": None},
        window={"sliding_window": 7},
        head_dim={"head_dim": 16, "sliding_window": 11, "tie_word_embeddings": True},
    ),
    *of(
        "qwen2",
        LLAMA,
        base={},
        tied={"tie_word_embeddings": True, "num_key_value_heads": 4, "rope_theta": 1e6},
        window={
            "use_sliding_window": True,
            "sliding_window": 6,
            "max_window_layers": 1,
            "num_hidden_layers": 3,
        },
    ),
    *of(
        "qwen3",
        LLAMA,
        base={"head_dim": 16},
        bias={"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True},
        window={
            "head_dim": 8,
            "use_sliding_window": True,
            "sliding_window": 6,
            "max_window_layers": 1,
        },
    ),
    *of(
        "smollm3",
        {**LLAMA, "num_hidden_layers": 4},
        base={"tie_word_embeddings": True},
        layers={"no_rope_layers": [0, 1, 1, 0], "attention_bias": True, "mlp_bias": True},
        interval={"no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 5},
    ),
    *of(
        "granite",
        LLAMA,
        base={
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.7,
            "logits_scaling": 2.0,
        },
        plain={"attention_multiplier": 0.35, "tie_word_embeddings": True},
        biases={
            "attention_bias": True,
            "mlp_bias": True,
            "residual_multiplier": 1.3,
            "attention_multiplier": 0.3,
            "rms_norm_eps": 1e-2,
        },
    ),
    *of(
        "phi3",
        LLAMA,
        base={},
        window={"sliding_window": 9, "num_key_value_heads": 4},
        longrope={
            "original_max_position_embeddings": 4,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0, 1.1, 1.2, 1.3],
                "long_factor": [1.0, 1.5, 2.5, 4.0],
            },
        },
        partial={"head_dim": 16, "partial_rotary_factor": 0.5, "tie_word_embeddings": True},
    ),
    *of(
        "glm4",
        {**LLAMA, "head_dim": 16},
        base={},
        no_bias={"attention_bias": False, "tie_word_embeddings": True},
        whole={"partial_rotary_factor": 1.0, "rms_norm_eps": 1e-3, "head_dim": 8},
    ),
    *of(
        "gemma",
        LLAMA,
        base={"head_dim": 8, "tie_word_embeddings": True},
        head_dim={"head_dim": 16, "num_key_value_heads": 1, "tie_word_embeddings": True},
        bias={"head_dim": 8, "attention_bias": True, "tie_word_embeddings": True},
    ),
    *of(
        "gemma2",
        {**LLAMA, "tie_word_embeddings": True, "num_hidden_layers": 3},
        base={"head_dim": 8, "sliding_window": 6, "query_pre_attn_scalar": 8},
        caps={
            "head_dim": 16,
            "sliding_window": 9,
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 4.0,
        },
        uncapped={
            "head_dim": 8,
            "query_pre_attn_scalar": 16,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": None,
        },
    ),
    *of(
        "gemma3_text",
        {**LLAMA, "tie_word_embeddings": True, "num_hidden_layers": 3},
        base={
            "head_dim": 8,
            "sliding_window": 6,
            "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        },
        pattern={
            "head_dim": 16,
            "sliding_window": 8,
            "sliding_window_pattern": 2,
            "query_pre_attn_scalar": 20,
            "rope_theta": 5000.0,
            "rope_local_base_freq": 100.0,
        },
        capped={
            "head_dim": 8,
            "sliding_window": 5,
            "sliding_window_pattern": 3,
            "final_logit_softcapping": 3.0,
            "query_pre_attn_scalar": 12,
            "rope_scaling": {"rope_type": "linear", "factor": 4.0},
        },
    ),
    *of(
        "olmo",
        LLAMA,
        base={},
        clip={"clip_qkv": 0.8, "tie_word_embeddings": True},
        bias={"attention_bias": True, "num_key_value_heads": 4},
    ),
    *of(
        "olmo2",
        LLAMA,
        base={},
        bias={"attention_bias": True, "tie_word_embeddings": True},
        one_kv={"num_key_value_heads": 1, "rms_norm_eps": 1e-3},
    ),
    *of(
        "cohere",
        {**LLAMA, "tie_word_embeddings": True},
        base={"logit_scale": 0.5},
        normed={"use_qk_norm": True, "logit_scale": 0.7},
        bias={"attention_bias": True, "num_key_value_heads": 4, "logit_scale": 1.0},
    ),
    *of(
        "cohere2",
        {**LLAMA, "tie_word_embeddings": True, "logit_scale": 0.5},
        base={"sliding_window": 6, "layer_types": SLIDES},
        pattern={"sliding_window": 5, "sliding_window_pattern": 2, "num_hidden_layers": 4},
        bias={"sliding_window": 9, "attention_bias": True, "layer_types": SLIDES[::-1]},
    ),
    *of(
        "stablelm",
        {**LLAMA, "partial_rotary_factor": 0.5},
        base={},
        parallel={"use_parallel_residual": True, "use_qkv_bias": True},
        normed={"qk_layernorm": True, "partial_rotary_factor": 1.0, "use_parallel_residual": True},
    ),
    *of(
        "mixtral",
        LLAMA,
        base={"num_local_experts": 4},
        window={"num_local_experts": 3, "num_experts_per_tok": 1, "sliding_window": 7},
        all={"num_local_experts": 3, "num_experts_per_tok": 3, "tie_word_embeddings": True},
    ),
    *of(
        "qwen2_moe",
        {
            **LLAMA,
            "num_experts": 5,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 20,
            "shared_expert_intermediate_size": 28,
        },
        base={},
        normed={"norm_topk_prob": True, "qkv_bias": False, "tie_word_embeddings": True},
        some={"mlp_only_layers": [0], "num_experts_per_tok": 4},
    ),
    *of(
        "qwen3_moe",
        {**LLAMA, "num_experts": 6, "moe_intermediate_size": 20, "head_dim": 16},
        base={"num_experts_per_tok": 3, "norm_topk_prob": True},
        plain={"num_experts_per_tok": 2, "attention_bias": True, "tie_word_embeddings": True},
        step={"num_experts_per_tok": 2, "decoder_sparse_step": 2, "num_hidden_layers": 3},
    ),
    *of(
        "olmoe",
        {**LLAMA, "num_experts": 6},
        base={"num_experts_per_tok": 2},
        normed={"num_experts_per_tok": 3, "norm_topk_prob": True, "clip_qkv": 1.5},
        one={"num_experts_per_tok": 1, "attention_bias": True, "tie_word_embeddings": True},
    ),
    *of("gpt_oss", {**LLAMA, **gpt_oss_cases.COMMON}, **gpt_oss_cases.CASES),
    *of(
        "starcoder2",
        LLAMA,
        base={"sliding_window": 7},
        no_bias={"use_bias": False, "tie_word_embeddings": True},
        one_kv={"num_key_value_heads": 1, "hidden_act": "gelu", "norm_epsilon": 1e-3},
    ),
    *of(
        "phi",
        LLAMA,
        base={"partial_rotary_factor": 0.5},
        whole={"partial_rotary_factor": 1.0, "num_key_value_heads": 4},
        gelu={"hidden_act": "gelu", "layer_norm_eps": 1e-3, "partial_rotary_factor": 0.25},
    ),
    *of(
        "gpt_neox",
        {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"},
        base={"rotary_pct": 0.5},
        serial={"use_parallel_residual": False, "rotary_pct": 1.0, "rotary_emb_base": 500},
        no_bias={"attention_bias": False, "rotary_pct": 0.25, "tie_word_embeddings": True},
    ),
    *of(
        "gptj",
        GPT,
        base={"rotary_dim": 4},
        whole={"rotary_dim": 8, "n_inner": 40},
        gelu={"rotary_dim": 2, "activation_function": "gelu", "layer_norm_epsilon": 1e-3},
    ),
    *of(
        "gpt_bigcode",
        GPT,
        base={},
        heads={"multi_query": False, "tie_word_embeddings": False},
        inner={"n_inner": 40, "activation_function": "gelu", "scale_attn_weights": False},
    ),
    *of(
        "bloom",
        {
            "hidden_size": 32,
            "n_layer": 2,
            "n_head": 4,
            "vocab_size": 64,
            "tie_word_embeddings": False,
            **NOBODY,
        },
        base={},
        tied={"tie_word_embeddings": True, "n_head": 2},
        odd_heads={"hidden_size": 48, "n_head": 6, "layer_norm_epsilon": 1e-3},
    ),
    *of(
        "falcon",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 96,
            "tie_word_embeddings": False,
            **NOBODY,
        },
        base={},
        grouped={"new_decoder_architecture": True, "num_kv_heads": 2},
        one_norm={
            "new_decoder_architecture": True,
            "num_kv_heads": 4,
            "num_ln_in_parallel_attn": 1,
            "bias": True,
        },
        serial={"parallel_attn": False, "multi_query": False, "bias": True},
        alibi={"alibi": True, "multi_query": False, "bias": True, "parallel_attn": False},
    ),
    *of(
        "mpt",
        {
            "d_model": 32,
            "n_layers": 2,
            "n_heads": 4,
            "vocab_size": 64,
            "max_seq_len": 96,
            "tie_word_embeddings": True,
            **NOBODY,
        },
        base={},
        clip={"attn_config": {"clip_qkv": 1.0}},
        odd_heads={"d_model": 48, "n_heads": 6, "attn_config": {"softmax_scale": 0.2}},
    ),
    *of(
        "opt",
        {
            "hidden_size": 32,
            "ffn_dim": 44,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "vocab_size": 64,
            "max_position_embeddings": 96,
            **NOBODY,
        },
        base={},
        norm_last={"do_layer_norm_before": False, "word_embed_proj_dim": 20},
        no_bias={"enable_bias": False, "tie_word_embeddings": False, "activation_function": "gelu"},
    ),
    *of(
        "mamba",
        MAMBA,
        base={},
        bias={"use_bias": True, "tie_word_embeddings": False, "time_step_rank": 5},
        odd={"hidden_size": 20, "expand": 3, "conv_kernel": 3, "use_conv_bias": False},
    ),
    *of(
        "falcon_mamba",
        MAMBA,
        base={"tie_word_embeddings": False},
        tied={"mixer_rms_eps": 1e-2},
        odd={"hidden_size": 24, "expand": 1, "use_bias": True, "time_step_rank": 3},
    ),
    *of(
        "mamba2",
        {**MAMBA, "num_heads": 4, "head_dim": 16, "chunk_size": 8},
        base={"n_groups": 1},
        groups={"n_groups": 2, "tie_word_embeddings": True, "time_step_limit": [0.5, 2.0]},
        odd={
            "num_heads": 8,
            "head_dim": 8,
            "n_groups": 4,
            "conv_kernel": 2,
            "use_bias": True,
            "use_conv_bias": False,
            "layer_norm_epsilon": 1e-3,
        },
    ),
    *of(
        "bamba",
        {
            **LLAMA,
            "num_hidden_layers": 3,
            "mamba_n_heads": 8,
            "mamba_d_state": 16,
            "mamba_chunk_size": 8,
        },
        base={"attn_layer_indices": [1]},
        groups={
            "attn_layer_indices": [0, 2],
            "mamba_n_groups": 2,
            "mamba_d_head": 16,
            "mamba_expand": 4,
            "mamba_d_conv": 3,
            "tie_word_embeddings": True,
        },
        biases={
            "attention_bias": True,
            "mlp_bias": True,
            "mamba_proj_bias": True,
            "mamba_conv_bias": False,
            "time_step_limit": [0.2, 1.5],
            "attn_layer_indices": [2],
        },
    ),
    *of(
        "jamba",
        {**LLAMA, "num_hidden_layers": 3, "attn_layer_period": 3, "attn_layer_offset": 1},
        base={"num_experts": 4},
        dense={"num_experts": 1, "num_experts_per_tok": 1, "mamba_dt_rank": 5},
        every={
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
    ),
]
