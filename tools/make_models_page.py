#!/usr/bin/env python3
"""docs/models.md, from the registry and the goldens:  python tools/make_models_page.py

A row a model file: what it says it is, in how many configs it was held to transformers, and to
which version. tests/models/test_models_page.py fails when the page is older than they are.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/models")]
import families  # noqa: E402
import golden_cases  # noqa: E402
from genfast import models  # noqa: E402
from genfast.sizing import sizes_of  # noqa: E402

PAGE = ROOT / "docs/models.md"
HEAD = """\
# Models

One file in `python/genfast/models/` for each, named as Hugging Face's `model_type`. All of them
have batching, beams, prefix reuse, guided output and every weight and cache format
(`quantize="int8"`, `"int4"`, `"fp8"`; routers of experts stay unquantised; the cache of DeepSeek's
latent attention is never int4), and take LoRA adapters of PEFT, which are merged into the weights
as these are packed (`genfast.load(…, adapters=[…])`; DoRA and gpt-oss's experts are refused by
name). `genfast info --config config.json` tells whether a config is understood, and what it takes.
`janus` opens as a pipeline of [images](images.md), whose `.model` it is; it takes no adapters.

"Configs" are tiny random models, whose logits (whole, and through the cache in pieces) and 64
(Llama and GPT-2: 40) greedy tokens are transformers' (RWKV 5, 6 and 7: the rwkv package's): `pytest
tests/models/test_families.py tests/models/test_llama.py tests/models/test_gpt2.py`. `python
tools/make_models_page.py` makes this page.

"Guesses": whether requests speculate; from [recurrent state](engine.md#recurrent-state) no wrong
guess could be taken back.

"""


def goldens(model_type: str) -> list[Path]:
    own = [case.file for case in families.CASES if case.model_type == model_type]
    first = [
        case.file for case in golden_cases.CASES.values() if case.config["model_type"] == model_type
    ]
    return own + first


def has_state(model_type: str) -> bool:
    configs = [case.config for case in golden_cases.CASES.values()]
    configs += [case.full_config() for case in families.CASES]
    config = next(config for config in configs if config["model_type"] == model_type)
    return sizes_of(config).state_bytes > 0


def page() -> str:
    rows = ["| model_type | what | configs | transformers | guesses |", "|---|---|---|---|---|"]
    for name in models.supported():
        what = importlib.import_module(f"genfast.models.{name}").__doc__.splitlines()[0]
        files = goldens(name)
        made_by = set()
        for file in files:
            with np.load(file) as golden:
                peer, version = str(golden["made_by"]).split()[:2]
                made_by.add(version if peer == "transformers" else f"{peer} {version}")
        rows.append(
            f"| `{name}` | {what.rstrip('.')} | {len(files)} | {', '.join(sorted(made_by))} "
            f"| {'no' if has_state(name) else 'yes'} |"
        )
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
