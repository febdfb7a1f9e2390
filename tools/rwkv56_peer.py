"""RWKV 5 and 6 by BlinkDL's rwkv package, for make_family_goldens.py: transformers has no code for
them.

The package reads checkpoints of another spelling, and fixes two numbers: the heads' norms have an
eps of 64e-5, which is that of the config with a head_size_divisor of 8, and layer norms have 1e-5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import rwkv_package

PARTS = ("key", "value", "receptance", "gate")


def shapes_of(config: dict) -> dict[str, list[int]]:
    """Of a checkpoint as upstream's modeling_rwkv5.py and modeling_rwkv6.py save it."""
    hidden, vocab, size = config["hidden_size"], config["vocab_size"], config["head_size"]
    ffn = config.get("intermediate_size") or int(hidden * 3.5) // 32 * 32
    v6 = config["model_type"] == "rwkv6"
    row, heads = [1, 1, hidden], [hidden // size, size]
    attention = {f"{part}.weight": [hidden, hidden] for part in (*PARTS, "output")}
    attention |= {f"ln_x.{part}": [hidden] for part in ("weight", "bias")}
    attention |= {"time_faaaa": heads, "time_decay": row if v6 else heads}
    feed_forward = {"key.weight": [ffn, hidden], "value.weight": [hidden, ffn]}
    feed_forward |= {"receptance.weight": [hidden, hidden]}
    if v6:
        attention |= {f"time_maa_{n}": row for n in "xwkvrg"}
        attention |= {"time_maa_w1": [hidden, 5 * 32], "time_maa_w2": [5, 32, hidden]}
        attention |= {"time_decay_w1": [hidden, 64], "time_decay_w2": [64, hidden]}
        feed_forward |= {f"time_maa_{n}": row for n in "kr"}
    else:
        attention |= {f"time_mix_{part}": row for part in PARTS}
        feed_forward |= {f"time_mix_{part}": row for part in ("key", "receptance")}
    norms = ["ln_out", "blocks.0.pre_ln"]
    shapes = {"rwkv.embeddings.weight": [vocab, hidden]}
    for i in range(config["num_hidden_layers"]):
        norms += [f"blocks.{i}.ln1", f"blocks.{i}.ln2"]
        for part, own in (("attention", attention), ("feed_forward", feed_forward)):
            shapes |= {f"rwkv.blocks.{i}.{part}.{name}": shape for name, shape in own.items()}
    shapes |= {f"rwkv.{norm}.{part}": [hidden] for norm in norms for part in ("weight", "bias")}
    if not config["tie_word_embeddings"]:
        shapes["head.weight"] = [vocab, hidden]
    return dict(sorted(shapes.items()))


def spelt(name: str) -> str:
    """As BlinkDL's checkpoints have it."""
    name = name.removeprefix("rwkv.")
    for ours, theirs in (
        ("embeddings", "emb"),
        ("attention", "att"),
        ("feed_forward", "ffn"),
        ("pre_ln", "ln0"),
        *((f"time_mix_{part}", f"time_mix_{part[0]}") for part in PARTS),
    ):
        name = name.replace(ours, theirs)
    return name


def load(config: dict, tensors: dict[str, np.ndarray], directory: Path):
    """What `make_family_goldens.logits_of` calls."""
    spelling = {spelt(name): torch.tensor(tensor) for name, tensor in tensors.items()}
    spelling.setdefault("head.weight", spelling["emb.weight"].clone())
    # The package tells the version from what it has seen so far, and then takes the heads' shape.
    last = [name for name in spelling if name.endswith(("time_decay", "time_faaaa"))]
    spelling |= {name: spelling.pop(name) for name in last}
    return rwkv_package.load(spelling, directory, version=int(config["model_type"][-1]))
