"""RWKV 7 by BlinkDL's rwkv package, for make_family_goldens.py: transformers has no code for it.

The package reads checkpoints of another spelling, and fixes two numbers: the heads' norms have an
eps of 64e-5, which is that of flash-linear-attention's config with heads of 64, and layer norms
have 1e-5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import rwkv_package

PROJECTIONS = {"r_proj": "receptance", "k_proj": "key", "v_proj": "value", "o_proj": "output"}
LETTERS = {"w": "decay", "a": "a", "v": "v", "g": "gate"}


def shapes_of(config: dict) -> dict[str, list[int]]:
    """Of a checkpoint as flash-linear-attention saves it."""
    hidden, ffn, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    heads = hidden // 64
    shapes = {"model.embeddings.weight": [vocab, hidden]}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = [vocab, hidden]
    parts = ["weight", "bias"] if config.get("norm_bias", True) else ["weight"]
    norms = ["norm", "layers.0.pre_norm"]
    for i in range(config["num_hidden_layers"]):
        p = f"layers.{i}."
        norms += [f"{p}attn_norm", f"{p}ffn_norm"]
        own = {f"attn.x_{n}": [1, 1, hidden] for n in "rwkvag"}
        own |= {"attn.k_k": [hidden], "attn.k_a": [hidden], "attn.r_k": [heads, 64]}
        own |= {f"attn.{n}.weight": [hidden, hidden] for n in PROJECTIONS}
        for letter, name in LETTERS.items():
            if letter == "v" and i == 0:
                continue
            rank = config[f"{name}_low_rank_dim"]
            own[f"attn.{letter}_lora.lora.0.weight"] = [rank, hidden]
            own[f"attn.{letter}_lora.lora.2.weight"] = [hidden, rank]
            if letter != "g":
                own[f"attn.{letter}_lora.lora.2.bias"] = [hidden]
        own |= {"attn.g_norm.weight": [hidden], "attn.g_norm.bias": [hidden]}
        own |= {"ffn.x_k": [hidden]}
        own |= {"ffn.key.weight": [ffn, hidden], "ffn.value.weight": [hidden, ffn]}
        shapes |= {f"model.{p}{name}": shape for name, shape in own.items()}
    shapes |= {f"model.{norm}.{part}": [hidden] for norm in norms for part in parts}
    return dict(sorted(shapes.items()))


def spelt(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """A tensor as BlinkDL's checkpoints have it."""
    ends = {"embeddings.weight": "emb.weight", "lm_head.weight": "head.weight"}
    name = name.removeprefix("model.")
    if name in ends:
        return ends[name], tensor
    if name.startswith("norm."):
        return f"ln_out.{name.removeprefix('norm.')}", tensor
    _, layer, part, *rest = name.split(".")
    part = {"attn": "att", "pre_norm": "ln0", "attn_norm": "ln1", "ffn_norm": "ln2"}.get(part, part)
    if rest[0].endswith("_lora"):
        number = {"0.weight": "1", "2.weight": "2", "2.bias": "0"}[".".join(rest[2:])]
        rest = [rest[0][0] + number]
        if number != "0":
            tensor = tensor.T.contiguous()
    elif rest[0] == "g_norm":
        rest[0] = "ln_x"
    elif part == "att":
        rest[0] = PROJECTIONS.get(rest[0], rest[0])
    return ".".join(["blocks", layer, part, *rest]), tensor


def load(config: dict, tensors: dict[str, np.ndarray], directory: Path):
    """What `make_family_goldens.logits_of` calls."""
    spelling = dict(spelt(name, torch.tensor(tensor)) for name, tensor in tensors.items())
    spelling.setdefault("head.weight", spelling["emb.weight"].clone())
    for name in [n for n in spelling if n.endswith(".weight") and ".ln" in f".{n}"]:
        bias = name.removesuffix("weight") + "bias"
        spelling.setdefault(bias, torch.zeros_like(spelling[name]))
    return rwkv_package.load(spelling, directory, version=7)
