"""Real config.json files: those of supported families are understood, with the parameters their
makers tell; others are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genfast import models
from genfast.errors import LoadError
from genfast.sizing import sizes_of

CONFIGS = Path(__file__).resolve().parents[3] / "shared/data/configs"
FILES = sorted([*CONFIGS.glob("hf/*/config.json"), *CONFIGS.glob("recent/*_config.json")])
# In billions, from the model cards: in all, and where it differs those that a token visits.
PUBLISHED = {
    "hf/mistral-7b/config.json": (7.24, None),
    "hf/gpt-j-6b/config.json": (6.05, None),
    "hf/phi-3-mini/config.json": (3.82, None),
    "hf/gpt2-xl/config.json": (1.56, None),
    "hf/wizardcoder-15b-gpt_bigcode/config.json": (15.5, None),
    "hf/mixtral-8x7b-dolphin/config.json": (46.7, 12.9),
    "recent/meta-llama--Meta-Llama-3.1-405B_config.json": (405, None),
    "recent/Qwen--Qwen3-8B_config.json": (8.19, None),
    "recent/Qwen--Qwen3-30B-A3B_config.json": (30.5, 3.3),
    "recent/Qwen--Qwen3-235B-A22B_config.json": (235, 22),
    # Their card (arXiv 2508.10925) does not count the embedding table among the active.
    "recent/openai--gpt-oss-20b_config.json": (20.9, 3.61 + 0.58),
    "recent/openai--gpt-oss-120b_config.json": (116.8, 5.13 + 0.58),
    "recent/mistralai--Mixtral-8x22B-v0.1_config.json": (141, 39),
    "recent/deepseek-ai--DeepSeek-V3_config.json": (671, 37),
    "recent/deepseek-ai--DeepSeek-R1_config.json": (671, 37),
}


@pytest.mark.skipif(not FILES, reason="../shared/data/configs is not there")
def test_each_is_understood_or_refused_by_name():
    understood = 0
    for file in FILES:
        config = json.loads(file.read_text())
        if config.get("model_type") in models.supported():
            assert sizes_of(config, file).parameters > 1e7, file
            understood += 1
        elif "model_type" in config:
            with pytest.raises(LoadError) as refused:
                sizes_of(config, file)
            assert str(file) in str(refused.value)
            assert repr(config["model_type"]) in str(refused.value)
    assert understood >= 25


@pytest.mark.skipif(not FILES, reason="../shared/data/configs is not there")
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name):
    in_all, active = PUBLISHED[name]
    sizes = sizes_of(json.loads((CONFIGS / name).read_text()), name)
    assert sizes.parameters / 1e9 == pytest.approx(in_all, rel=0.005)
    assert sizes.active_parameters / 1e9 == pytest.approx(active or in_all, rel=0.02)


# Of families without a config there: the fields of the published ones, parameters in billions, and
# the bytes of a state: layers * 4 * channels * (N + W - 1), with B and C beside the channels that
# Mamba 2 convolves.
WRITTEN = {
    "state-spaces/mamba-2.8b-hf": (
        {"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "vocab_size": 50280},
        (2.77, None),
        64 * 4 * 5120 * (16 + 3),
    ),
    "mistralai/Mamba-Codestral-7B-v0.1": (
        {"model_type": "mamba2", "vocab_size": 32768},
        (7.29, None),
        64 * 4 * (8192 * 128 + 3 * (8192 + 2 * 8 * 128)),
    ),
    "tiiuae/falcon-mamba-7b": (
        {
            "model_type": "falcon_mamba",
            "hidden_size": 4096,
            "num_hidden_layers": 64,
            "vocab_size": 65024,
            "tie_word_embeddings": False,
        },
        (7.27, None),
        64 * 4 * 8192 * (16 + 3),
    ),
    "ibm-ai-platform/Bamba-9B": (
        {
            "model_type": "bamba",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "vocab_size": 128256,
            "attn_layer_indices": [9, 18, 27],
            "mamba_d_state": 128,
        },
        (9.78, None),
        29 * 4 * (8192 * 128 + 3 * (8192 + 2 * 128)),
    ),
    # Two token shifts, and a matrix for each head. Parameters: arXiv 2404.05892.
    "RWKV/v5-Eagle-7B-HF": (
        {
            "model_type": "rwkv5",
            "attention_hidden_size": 4096,
            "hidden_size": 4096,
            "head_size": 64,
            "head_size_divisor": 8,
            "intermediate_size": None,
            "layer_norm_epsilon": 1e-05,
            "num_attention_heads": 64,
            "num_hidden_layers": 32,
            "rescale_every": 6,
            "tie_word_embeddings": False,
            "vocab_size": 65536,
        },
        (7.518, None),
        32 * 4 * (2 * 4096 + 4096 * 64),
    ),
    "RWKV/rwkv-6-world-1b6": (
        {"model_type": "rwkv6", "hidden_size": 2048, "num_hidden_layers": 24},
        (1.5999, None),
        24 * 4 * (2 * 2048 + 2048 * 64),
    ),
    "fla-hub/rwkv7-1.5B-world": (
        {
            "model_type": "rwkv7",
            "hidden_size": 2048,
            "num_hidden_layers": 24,
            "vocab_size": 65536,
            "decay_low_rank_dim": 96,
            "a_low_rank_dim": 96,
            "v_low_rank_dim": 64,
            "gate_low_rank_dim": 256,
        },
        (1.527, None),
        24 * 4 * (2 * 2048 + 2048 * 64),
    ),
    "ai21labs/Jamba-v0.1": (
        {
            "model_type": "jamba",
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "vocab_size": 65536,
        },
        (51.6, 12.1),
        28 * 4 * 8192 * (16 + 3),
    ),
    # Two token shifts of the hidden size, and three numbers of every channel's attention.
    "RWKV/rwkv-4-169m-pile": (
        {"model_type": "rwkv", "hidden_size": 768, "num_hidden_layers": 12, "vocab_size": 50277},
        (0.169, None),
        12 * 4 * 768 * (2 + 3),
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_states_are_as_large_as_they_should_be(name):
    config, (in_all, active), state_bytes = WRITTEN[name]
    sizes = sizes_of(config, name)
    assert sizes.parameters / 1e9 == pytest.approx(in_all, rel=0.005)
    assert sizes.active_parameters / 1e9 == pytest.approx(active or in_all, rel=0.005)
    assert sizes.state_bytes == state_bytes


# What config.json of DeepSeek-V2-Lite says, but for what no size depends on.
V2_LITE = {
    "model_type": "deepseek_v2",
    "first_k_dense_replace": 1,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "moe_intermediate_size": 1408,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_attention_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rope_scaling": {"factor": 40, "type": "yarn", "original_max_position_embeddings": 4096},
    "topk_group": 1,
    "topk_method": "greedy",
    "v_head_dim": 128,
    "vocab_size": 102400,
}


def test_latent_attention_keeps_little():
    """Of 27 layers a row of 512 + 64 numbers a token, where keys and values of 16 heads would be
    16 * (192 + 128)."""
    sizes = sizes_of(V2_LITE)
    embedding = 102400 * 2048
    assert sizes.parameters / 1e9 == pytest.approx(15.7, rel=0.005)
    # The card's 2.4 billion a token are those without the embedding.
    assert (sizes.active_parameters - embedding) / 1e9 == pytest.approx(2.4, rel=0.025)
    assert sizes.kv_bytes_per_token("bfloat16") == 27 * 576 * 2
    assert sizes.kv_bytes_per_token("int8") == 27 * (576 + 8)
    assert sizes.kv_bytes_per_token("fp8") == sizes.kv_bytes_per_token("int8")
    assert sizes.kv_formats == ("float32", "bfloat16", "int8", "fp8")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"norm_topk_prob": True}, "norm_topk_prob: found true, expected false"),
        ({"moe_layer_freq": 2}, "moe_layer_freq: found 2, expected 1"),
        ({"num_key_value_heads": 4}, "num_key_value_heads: found 4, expected .* = 16"),
        ({"topk_method": "noaux_tc"}, "topk_method: found .*greedy"),
        ({"kv_lora_rank": 700}, "kv_lora_rank: found 700, expected an integer from 1 to 512"),
        ({"topk_method": "group_limited_greedy", "n_group": 5}, "n_group: found 5, .* = 64"),
        ({"scoring_func": "sigmoid"}, "scoring_func: found .*expected one of softmax"),
    ],
)
def test_what_latent_attention_lacks_is_refused(change, message):
    with pytest.raises(LoadError, match=message):
        sizes_of({**V2_LITE, **change})


@pytest.mark.parametrize("model_type", ["rwkv5", "rwkv6"])
@pytest.mark.parametrize("field, value", [("head_size", 48), ("attention_hidden_size", 1024)])
def test_rwkv_heads_that_do_not_fill_the_stream_are_refused(model_type, field, value):
    config = {"model_type": model_type, "hidden_size": 2048, field: value}
    with pytest.raises(LoadError, match=rf"{field}.*{value}.*hidden_size = 2048"):
        sizes_of(config)
