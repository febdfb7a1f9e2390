"""Random models of real shapes, made on demand: `python bench/shapes.py 135M DIR`.

The weights are noise, so the text is too; time and memory are those of the real model.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
from pathlib import Path

import numpy as np

SHAPES: dict[str, dict] = {
    # SmolLM2-135M
    "135M": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
    },
    # Llama-3.2-1B
    "1B": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 32768,
        "rope_theta": 500000.0,
    },
}
_COMMON = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "torch_dtype": "bfloat16",
}


def config(name: str) -> dict:
    """config.json of the shape; its head_dim follows from hidden_size."""
    return {**_COMMON, **SHAPES[name]}


def tensors(cfg: dict) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor."""
    hidden, ffn = cfg["hidden_size"], cfg["intermediate_size"]
    kv = hidden // cfg["num_attention_heads"] * cfg["num_key_value_heads"]
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (cfg["vocab_size"], hidden)}
    for i in range(cfg["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        shapes |= {
            f"{layer}self_attn.q_proj.weight": (hidden, hidden),
            f"{layer}self_attn.k_proj.weight": (kv, hidden),
            f"{layer}self_attn.v_proj.weight": (kv, hidden),
            f"{layer}self_attn.o_proj.weight": (hidden, hidden),
            f"{layer}mlp.gate_proj.weight": (ffn, hidden),
            f"{layer}mlp.up_proj.weight": (ffn, hidden),
            f"{layer}mlp.down_proj.weight": (hidden, ffn),
            f"{layer}input_layernorm.weight": (hidden,),
            f"{layer}post_attention_layernorm.weight": (hidden,),
        }
    return shapes | {"model.norm.weight": (hidden,)}


def make(name: str, directory: Path, seed: int = 0) -> Path:
    """The directory of a random model in bfloat16, written unless it is there already."""
    directory = Path(directory)
    if (directory / "config.json").exists():
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    cfg = config(name)
    write(directory / "model.safetensors", tensors(cfg), seed)
    (directory / "config.json").write_text(json.dumps(cfg, indent=1))
    return directory


def write(
    path: Path,
    shapes: dict[str, tuple[int, ...]],
    seed: int = 0,
    given: dict[str, np.ndarray] | None = None,
) -> None:
    """A safetensors file in bfloat16: noise, ones for norms, and what is given."""
    given = given or {}
    rng = np.random.default_rng(seed)
    # Noise is cut out of one pool at random places: gigabytes of fresh normals take minutes.
    pool = bfloat16(rng.normal(size=1 << 24).astype(np.float32) * 0.02)

    header, at = {}, 0
    for tensor, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for tensor, shape in shapes.items():
            left = math.prod(shape)
            if tensor in given:
                f.write(bfloat16(given[tensor]).tobytes())
                continue
            if len(shape) == 1 and tensor.endswith(".weight"):  # a norm's
                f.write(bfloat16(np.ones(left, np.float32)).tobytes())
                continue
            while left:
                start = int(rng.integers(0, pool.size - 1))
                piece = pool[start : start + left]
                f.write(piece.tobytes())
                left -= piece.size
    partial.rename(path)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The bits of float32 values, rounded half up."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x8000) >> 16).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("directory", type=Path)
    args = parser.parse_args()
    print(make(args.shape, args.directory))


if __name__ == "__main__":
    main()
