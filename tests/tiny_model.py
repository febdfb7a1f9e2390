"""Tiny model directories, written the same to the last bit wherever they are needed.

The goldens hold what transformers answered; the weights they were asked about are made again
here, by the tool that makes goldens and by the tests. Weights are uniform, taken from the raw
integers of PCG64 (numpy promises that stream forever, and not that of its distributions), seeded
by tensor name.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

AS_THEY_ARE = {np.dtype(bool): "BOOL", np.dtype(np.uint8): "U8", np.dtype("V1"): "F8_E4M3"}
DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # of the file → of config.json


def uniform(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 in [-1, 1), a function of (seed, name, shape) alone."""
    bits = np.random.PCG64([seed, zlib.crc32(name.encode())])
    raw = bits.random_raw(int(np.prod(shape, dtype=np.int64))) >> np.uint64(40)
    return (raw.astype(np.float32) * np.float32(2**-23) - np.float32(1)).reshape(shape)


def weights(config: dict, seed: int) -> dict[str, np.ndarray]:
    """Every tensor of the model that `config` describes, float32.

    Scaled to be far from trivial: attention that picks, norms and biases that matter.
    """
    shapes = {"llama": llama_shapes, "gpt2": gpt2_shapes}[config["model_type"]](config)
    tensors = {}
    for name, shape in shapes.items():
        u = uniform(seed, name, shape)
        if name.endswith(("wte.weight", "embed_tokens.weight", "wpe.weight")):
            tensors[name] = u * (0.6 if "wpe" in name else 1.2)
        elif name.endswith(".bias"):
            tensors[name] = u * 0.4
        elif len(shape) == 1:
            tensors[name] = 1 + 0.4 * u
        else:
            # A matmul that keeps the variance has std 1/sqrt(K), and uniform needs sqrt(3) times
            # that; the queries and keys get more, so that softmax has something to choose between.
            k = shape[0] if config["model_type"] == "gpt2" and "lm_head" not in name else shape[1]
            gain = 1.8 if any(p in name for p in ("q_proj", "k_proj", "c_attn")) else 1.2
            tensors[name] = u * (gain * (3 / k) ** 0.5)
    return {name: t.astype(np.float32) for name, t in tensors.items()}


def llama_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    E, F, V = (config[k] for k in ("hidden_size", "intermediate_size", "vocab_size"))
    H = config["num_attention_heads"]
    Hkv = config.get("num_key_value_heads") or H
    D = config.get("head_dim") or E // H
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, E)}
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        rows = {"q_proj": H * D, "k_proj": Hkv * D, "v_proj": Hkv * D, "o_proj": E}
        for name, n in rows.items():
            shapes[f"{layer}self_attn.{name}.weight"] = (n, H * D if name == "o_proj" else E)
            if config.get("attention_bias"):
                shapes[f"{layer}self_attn.{name}.bias"] = (n,)
        for name, n, k in (("gate_proj", F, E), ("up_proj", F, E), ("down_proj", E, F)):
            shapes[f"{layer}mlp.{name}.weight"] = (n, k)
            if config.get("mlp_bias"):
                shapes[f"{layer}mlp.{name}.bias"] = (n,)
        shapes[f"{layer}input_layernorm.weight"] = (E,)
        shapes[f"{layer}post_attention_layernorm.weight"] = (E,)
    shapes["model.norm.weight"] = (E,)
    if not config.get("tie_word_embeddings", False):
        shapes["lm_head.weight"] = (V, E)
    return shapes


def gpt2_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    E, V = config["n_embd"], config["vocab_size"]
    F = config.get("n_inner") or 4 * E
    shapes: dict[str, tuple[int, ...]] = {
        "transformer.wte.weight": (V, E),
        "transformer.wpe.weight": (config["n_positions"], E),
    }
    for i in range(config["n_layer"]):
        layer = f"transformer.h.{i}."
        for name, k, n in (
            ("attn.c_attn", E, 3 * E),
            ("attn.c_proj", E, E),
            ("mlp.c_fc", E, F),
            ("mlp.c_proj", F, E),
        ):
            shapes[f"{layer}{name}.weight"] = (k, n)  # stored transposed, unlike everybody else's
            shapes[f"{layer}{name}.bias"] = (n,)
        for name in ("ln_1", "ln_2"):
            shapes[f"{layer}{name}.weight"] = (E,)
            shapes[f"{layer}{name}.bias"] = (E,)
    shapes["transformer.ln_f.weight"] = (E,)
    shapes["transformer.ln_f.bias"] = (E,)
    if not config.get("tie_word_embeddings", True):
        shapes["lm_head.weight"] = (V, E)
    return shapes


def to_bytes(array: np.ndarray, dtype: str) -> bytes:
    """`array` rounded to nearest even and laid out as safetensors stores `dtype`, unless it is
    bool, uint8 or bytes of float8."""
    if array.dtype in AS_THEY_ARE:
        return array.tobytes()
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return array.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], dtype: str = "F32") -> None:
    """One safetensors file."""
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, array in tensors.items():
        blob = to_bytes(array, dtype)
        header[name] = {
            "dtype": AS_THEY_ARE.get(array.dtype, dtype),
            "shape": list(array.shape),
            "data_offsets": [at, at + len(blob)],
        }
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def write_model(
    directory: Path,
    config: dict,
    seed: int,
    dtype: str = "F32",
    shards: int = 1,
    tensors: dict[str, np.ndarray] | None = None,
) -> Path:
    """A Hugging Face directory: config.json and the weights of `seed` (or `tensors`)."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**config, "torch_dtype": DTYPES[dtype]}, indent=1)
    (directory / "config.json").write_text(text)
    tensors = weights(config, seed) if tensors is None else tensors
    write_tensors(directory, "model", tensors, dtype, shards)
    return directory


def write_tensors(
    directory: Path, stem: str, tensors: dict[str, np.ndarray], dtype: str = "F32", shards: int = 1
) -> None:
    """`stem`.safetensors, or so many parts and the index that tells what is in which."""
    if shards == 1:
        return write_safetensors(directory / f"{stem}.safetensors", tensors, dtype)
    weight_map: dict[str, str] = {}
    names = list(tensors)
    for i in range(shards):
        file = f"{stem}-{i + 1:05}-of-{shards:05}.safetensors"
        mine = names[i::shards]
        write_safetensors(directory / file, {n: tensors[n] for n in mine}, dtype)
        weight_map.update(dict.fromkeys(mine, file))
    size = sum(t.size for t in tensors.values()) * (4 if dtype == "F32" else 2)
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (directory / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def write_letters(directory: Path, letters: str) -> None:
    """A tokenizer that has a token for each of these letters, and behind them "<end>"."""
    vocab = {letter: i for i, letter in enumerate(letters)}
    vocab["<end>"] = len(letters)
    flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
    end = {"id": len(letters), "content": "<end>", "special": True, **flags}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [end],
        "decoder": {"type": "Metaspace", "prepend_scheme": "never", "replacement": "▁"},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
