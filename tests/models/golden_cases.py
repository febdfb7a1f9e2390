"""The tiny models that transformers was asked about, one row a case; see tools/make_goldens.py."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import tiny_model

GOLDENS = Path(__file__).resolve().parents[1] / "goldens"


@dataclass(frozen=True)
class Case:
    """A config, how its weights are stored, and what to vary about the names in the files."""

    name: str
    config: dict
    seed: int
    dtype: str = "F32"
    shards: int = 1
    layout: str = "modern"  # "old": the names and the leftover buffers of the first uploads

    def tensors(self) -> dict[str, np.ndarray]:
        tensors = tiny_model.weights(self.config, self.seed)
        return old_layout(self.config, tensors) if self.layout == "old" else tensors

    def write(self, directory: Path) -> Path:
        return tiny_model.write_model(
            directory, self.config, self.seed, self.dtype, self.shards, self.tensors()
        )

    def checksum(self) -> int:
        """Changes with anything a golden depends on, so that a stale one is seen."""
        text = json.dumps([self.config, self.dtype, self.layout], sort_keys=True).encode()
        crc = zlib.crc32(text)
        for name, tensor in self.tensors().items():
            crc = zlib.crc32(
                tiny_model.to_bytes(tensor, self.dtype), zlib.crc32(name.encode(), crc)
            )
        return crc

    @property
    def file(self) -> Path:
        return GOLDENS / f"{self.name}.npz"


def old_layout(config: dict, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of old uploads: gpt2 without its prefix and with causal masks, llama with inv_freq."""
    if config["model_type"] == "gpt2":
        n = config["n_positions"]
        mask = np.tril(np.ones((n, n), bool))[None, None]
        masks = {f"h.{i}.attn.bias": mask for i in range(config["n_layer"])}
        return {k.removeprefix("transformer."): v for k, v in tensors.items()} | masks
    half = np.arange(0, 8, 2, dtype=np.float32)
    inv_freq = (1 / 10000 ** (half / 8)).astype(np.float32)
    layers = range(config["num_hidden_layers"])
    return tensors | {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": inv_freq for i in layers}


# E 32, H 4, D 8, V 64: small enough for a golden of some 12 KB.
BASE_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 44,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
BASE_GPT2 = {
    "architectures": ["GPT2LMHeadModel"],
    "model_type": "gpt2",
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
    "vocab_size": 64,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "bos_token_id": None,
    "eos_token_id": None,
}


ABSENT = object()


def changed(base: dict, changes: dict) -> dict:
    return {k: v for k, v in (base | changes).items() if v is not ABSENT}


def llama(name: str, **changes: object) -> Case:
    return Case(f"llama-{name}", changed(BASE_LLAMA, changes), seed=1)


def gpt2(name: str, **changes: object) -> Case:
    return Case(f"gpt2-{name}", changed(BASE_GPT2, changes), seed=2)


# Two ways to write a rope scaling: rope_scaling beside rope_theta, and since transformers 5 all of
# it in rope_parameters. `type` was the first name of rope_type.
def old_rope(**scaling: object) -> dict:
    return {"rope_scaling": scaling}


def new_rope(theta: float, **parameters: object) -> dict:
    return {"rope_theta": ABSENT, "rope_parameters": {"rope_theta": theta, **parameters}}


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}

LLAMA_CASES = [
    llama("base"),
    llama("one-kv-head", num_key_value_heads=1),
    llama("as-many-kv-heads", num_key_value_heads=ABSENT),
    llama("head-dim", head_dim=16, num_key_value_heads=2),
    llama("tied", tie_word_embeddings=True),
    llama("biases", attention_bias=True, mlp_bias=True),
    llama("attention-bias", attention_bias=True, mlp_bias=False, tie_word_embeddings=True),
    llama("theta", rope_theta=150.0, rms_norm_eps=1e-3),
    llama(
        "codellama",
        rope_theta=1000000,
        max_position_embeddings=16384,
        vocab_size=67,
        pretraining_tp=1,
        rope_scaling=None,
        use_cache=True,
        initializer_range=0.02,
    ),
    llama(
        "odd-sizes",
        hidden_size=30,
        num_attention_heads=5,
        num_key_value_heads=1,
        intermediate_size=37,
        vocab_size=61,
        num_hidden_layers=3,
    ),
    llama("rope-parameters", **new_rope(500.0, rope_type="default")),
    llama("linear", **old_rope(type="linear", factor=4.0)),
    llama("linear-new", **new_rope(10000.0, rope_type="linear", factor=2.5)),
    llama("dynamic", max_position_embeddings=16, **old_rope(type="dynamic", factor=4.0)),
    llama(
        "dynamic-new",
        max_position_embeddings=16,
        head_dim=16,
        **new_rope(1000.0, rope_type="dynamic", factor=4.0),
    ),
    llama(
        "yarn",
        **old_rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
    ),
    llama(
        "yarn-betas",
        **old_rope(
            type="yarn",
            factor=4.0,
            original_max_position_embeddings=16,
            attention_factor=1.3,
            beta_fast=4.0,
            beta_slow=0.25,
        ),
    ),
    llama(
        "yarn-mscale",
        head_dim=16,
        **new_rope(
            500.0,
            rope_type="yarn",
            factor=8.0,
            original_max_position_embeddings=16,
            mscale=1.5,
            mscale_all_dim=0.5,
            beta_fast=3,
            beta_slow=0.5,
            truncate=False,
        ),
    ),
    # Without the original length, it is max_position_embeddings.
    llama("yarn-short", max_position_embeddings=56, **old_rope(type="yarn", factor=2.0)),
    llama(
        "llama3",
        head_dim=16,
        rope_theta=500.0,
        **old_rope(rope_type="llama3", original_max_position_embeddings=16, **LLAMA3),
    ),
    llama(
        "llama3-new",
        head_dim=16,
        tie_word_embeddings=True,
        **new_rope(2000.0, rope_type="llama3", original_max_position_embeddings=24, **LLAMA3),
    ),
    replace(llama("bf16"), dtype="BF16"),
    replace(llama("fp16", tie_word_embeddings=True), dtype="F16"),
    replace(llama("sharded"), shards=3),
    replace(llama("old-layout", tie_word_embeddings=True), layout="old"),
]

GPT2_CASES = [
    gpt2("base"),
    gpt2("untied", tie_word_embeddings=False),
    gpt2("gelu", activation_function="gelu"),
    gpt2("relu", activation_function="relu"),
    gpt2("inner", n_inner=40),
    gpt2("inverse-layer", scale_attn_by_inverse_layer_idx=True, n_layer=3),
    gpt2("unscaled", scale_attn_weights=False),
    gpt2("upcast", reorder_and_upcast_attn=True, scale_attn_by_inverse_layer_idx=True),
    gpt2("odd-sizes", n_embd=33, n_head=3, vocab_size=61, layer_norm_epsilon=1e-2),
    replace(gpt2("sharded"), shards=2),
    replace(gpt2("old-layout"), layout="old"),
    replace(gpt2("bf16"), dtype="BF16"),
    replace(gpt2("fp16", tie_word_embeddings=False), dtype="F16"),
]

CASES = {case.name: case for case in LLAMA_CASES + GPT2_CASES}
