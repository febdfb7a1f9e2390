#!/usr/bin/env python3
"""What PEFT answers to the adapters of tests/models/adapter_cases.py.

Needs torch, transformers and peft; the tests do not. A golden is tests/goldens/adapters/CASE.npz:

    configs   JSON, adapter_config.json of each adapter, as PEFT saves it
    shapes    JSON, of each, the names and shapes of its tensors
    checksum  of all that it depends on
    ids       int32 [T]
    logits    float32 [T, V], with all adapters active
    plain     float32 [T, V], without any
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "models")]
from adapter_cases import CASES, AdapterCase  # noqa: E402


def base_model(directory: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()


def saved(arguments: dict, base: Path, directory: Path) -> tuple[dict, dict[str, list[int]]]:
    """The config and the tensors' shapes that PEFT writes for a fresh adapter."""
    from safetensors import safe_open

    config = peft.LoraConfig(task_type="CAUSAL_LM", **arguments)
    peft.get_peft_model(base_model(base), config).save_pretrained(directory)
    written = json.loads((directory / "adapter_config.json").read_text())
    written["base_model_name_or_path"] = None
    written = {
        k: sorted(v) if k == "target_modules" and not isinstance(v, str) else v
        for k, v in written.items()
    }
    with safe_open(directory / "adapter_model.safetensors", "np") as file:
        return written, {n: list(file.get_slice(n).get_shape()) for n in sorted(file.keys())}


@torch.no_grad()
def make(case: AdapterCase, directory: Path) -> dict[str, np.ndarray]:
    base = case.write_base(directory / "base")
    made = [saved(a, base, directory / f"fresh_{i}") for i, a in enumerate(case.adapters)]
    configs, shapes = [config for config, _ in made], [mine for _, mine in made]
    paths = case.write_adapters(directory, configs, shapes)
    model = base_model(base)
    ids = np.random.default_rng(5).integers(0, model.config.vocab_size, 20).astype(np.int32)
    batch = torch.tensor(ids[None].astype(np.int64))
    plain = model(batch).logits[0].numpy()
    adapted = peft.PeftModel.from_pretrained(model, paths[0], adapter_name="0")
    for i, path in enumerate(paths[1:], 1):
        adapted.load_adapter(path, adapter_name=str(i))
    adapted.base_model.set_adapter([str(i) for i in range(len(paths))])
    logits = adapted.eval()(batch).logits[0].numpy()
    moved = np.linalg.norm(logits - plain) / np.linalg.norm(plain)
    print(f"{case.name}: the adapters move logits by {moved:.2f}")
    return {
        "configs": np.array(json.dumps(configs)),
        "shapes": np.array(json.dumps(shapes)),
        "checksum": np.uint32(case.checksum(configs, shapes)),
        "ids": ids,
        "logits": logits.astype(np.float32),
        "plain": plain.astype(np.float32),
        "made_by": np.array(f"peft {peft.__version__} transformers {transformers.__version__}"),
    }


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as workdir:
        for case in CASES:
            case.file.parent.mkdir(exist_ok=True)
            np.savez_compressed(case.file, **make(case, Path(workdir) / case.name))


if __name__ == "__main__":
    main()
