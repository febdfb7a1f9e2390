#!/usr/bin/env python3
"""What transformers answers to the tiny models of tests/models/families.py.

    python tools/make_family_goldens.py [MODEL_TYPE | CASE ...]     # none named: all

Needs torch and transformers, and rwkv for RWKV 5, 6 and 7, which transformers lacks; the tests need
none. A golden is tests/goldens/families/CASE.npz:

    shapes        JSON, the names and shapes of the model's tensors, as transformers saves them
    checksum      of config and weights, so that a stale golden is seen
    ids_0, ids_1  int32 [T]
    logits_0, _1  float32 [T, V], at every position, in float32, fed all at once
    greedy        int32 [64], the greedy continuation of ids_0
    margin        float, the smallest lead of a greedy token over the next best, in logits
    without_codes int32 [64], of Chameleon: the same as transformers has it, which gives no codes
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "models")]
import rwkv7_peer  # noqa: E402
import rwkv56_peer  # noqa: E402
import rwkv_package  # noqa: E402
import tiny_model  # noqa: E402
from families import CASES  # noqa: E402
from family import Family  # noqa: E402

# What transformers has no code for.
OTHERS = {"rwkv5": rwkv56_peer, "rwkv6": rwkv56_peer, "rwkv7": rwkv7_peer}
LENGTHS, CONTINUE, MIN_MARGIN = (5, 24), 64, 1e-2


def attention_of(family: Family) -> str:
    """The plain one, but for Falcon, where that of transformers 5.24 adds ALiBi twice."""
    return "sdpa" if family.model_type == "falcon" else "eager"


def plain_config(family: Family) -> dict:
    return {k: v for k, v in family.full_config().items() if k != "quantization_config"}


def packed(shapes: dict[str, list[int]]) -> dict[str, list[int]]:
    """Those of an MXFP4 checkpoint: the experts' matrices turned, as blocks and scales."""
    found = {}
    for name, shape in shapes.items():
        if name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            groups = [shape[0], shape[2], shape[1] // 32]
            found |= {f"{name}_blocks": [*groups, 16], f"{name}_scales": groups}
        else:
            found[name] = shape
    return found


def unpacked(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    found = {}
    for name, tensor in tensors.items():
        if name.endswith("_blocks"):
            name = name.removesuffix("_blocks")
            parts = [torch.tensor(tensors[f"{name}_{part}"]) for part in ("blocks", "scales")]
            tensor = convert_moe_packed_tensors(*parts, dtype=torch.float32).numpy()
        if not name.endswith("_scales"):
            found[name] = tensor
    return found


def class_of(family: Family):
    """What transformers runs it with; some are no language models to it."""
    others = {
        "imagegpt": transformers.ImageGPTForCausalImageModeling,
        "chameleon": transformers.ChameleonForConditionalGeneration,
        "janus": transformers.JanusForConditionalGeneration,
    }
    return others.get(family.model_type, transformers.AutoModelForCausalLM)


def shapes_of(family: Family, directory: Path) -> dict[str, list[int]]:
    """Of what transformers writes, so without what is tied."""
    if family.model_type in OTHERS:
        return OTHERS[family.model_type].shapes_of(family.full_config())
    (directory / "config.json").write_text(json.dumps(plain_config(family)))
    config = transformers.AutoConfig.from_pretrained(directory)
    kind = class_of(family)
    model = kind.from_config(config) if hasattr(kind, "from_config") else kind(config)
    model.save_pretrained(directory)
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", "np") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
    return packed(shapes) if "quantization_config" in family.config else shapes


def load(family: Family, shapes: dict[str, list[int]], directory: Path):
    if family.model_type in OTHERS:
        peer = OTHERS[family.model_type]
        return peer.load(family.full_config(), family.tensors(shapes), directory)
    tensors = unpacked(family.tensors(shapes))
    tiny_model.write_model(directory, plain_config(family), 0, tensors=tensors)
    model, info = class_of(family).from_pretrained(
        directory,
        dtype=torch.float32,
        attn_implementation=attention_of(family),
        output_loading_info=True,
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[problem]:
            raise SystemExit(f"{family.id}: {problem}: {info[problem]}")
    return model.eval()


@torch.no_grad()
def logits_of(model, ids: np.ndarray, codes: bool = True) -> np.ndarray:
    """codes: those of Chameleon's codes too."""
    ids = torch.tensor(ids[None].astype(np.int64))
    if codes and isinstance(model, transformers.ChameleonForConditionalGeneration):
        return model.lm_head(model.model(ids).last_hidden_state)[0].float().numpy()
    return model(ids).logits[0].float().numpy()


def greedy(model, ids: np.ndarray, codes: bool = True) -> tuple[np.ndarray, float]:
    """The tokens that follow, each from a pass over all before it, and their smallest lead."""
    tokens, margin = [int(i) for i in ids], np.inf
    for _ in range(CONTINUE):
        last = logits_of(model, np.array(tokens), codes)[-1]
        best = np.sort(last)
        margin = min(margin, float(best[-1] - best[-2]))
        tokens.append(int(last.argmax()))
    return np.array(tokens[len(ids) :], np.int32), margin


def made_by(family: Family) -> str:
    if family.model_type in OTHERS:
        return rwkv_package.made_by()
    return f"transformers {transformers.__version__} torch {torch.__version__}"


def make(family: Family, directory: Path) -> dict[str, np.ndarray]:
    directory.mkdir()
    shapes = shapes_of(family, directory)
    model = load(family, shapes, directory)
    best = None
    for attempt in range(40):
        rng = np.random.default_rng([7, attempt])
        ids = [rng.integers(0, family.config["vocab_size"], n).astype(np.int32) for n in LENGTHS]
        new, margin = greedy(model, ids[0])
        without = None
        if family.model_type == "chameleon":
            without, other = greedy(model, ids[0], codes=False)
            margin = min(margin, other)
        if best is None or margin > best[2]:
            best = ids, new, margin, without
        if margin >= MIN_MARGIN:
            break
    ids, new, margin, without = best
    if margin < MIN_MARGIN / 10:
        raise SystemExit(f"{family.id}: the greedy tokens lead by {margin} at most")
    logits = [logits_of(model, x) for x in ids]
    print(f"{family.id}: margin {margin:.3f}, std {logits[1].std():.2f}, {len(set(new))} tokens")
    return {
        "shapes": np.array(json.dumps(shapes)),
        "checksum": np.uint32(family.checksum(shapes)),
        **{f"ids_{i}": x for i, x in enumerate(ids)},
        **{f"logits_{i}": x.astype(np.float32) for i, x in enumerate(logits)},
        "greedy": new,
        **({} if without is None else {"without_codes": without}),
        "margin": np.float32(margin),
        "made_by": np.array(made_by(family)),
    }


def main() -> None:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as workdir:
        for family in CASES:
            if names and family.id not in names and family.model_type not in names:
                continue
            family.file.parent.mkdir(exist_ok=True)
            np.savez_compressed(family.file, **make(family, Path(workdir) / family.id))


if __name__ == "__main__":
    main()
