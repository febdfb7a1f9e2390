"""Models of real shapes that say what they are told, whatever they are asked.

Speculation pays by how a text repeats its prompt, so noise cannot show it, and trained weights of a
real size may not be at hand. A GPT-2 adds a learned vector for each position: where that vector is
the logits' row of the token that a script has next, greedy decoding follows the script. All other
weights are noise and all arithmetic is done, so time is a real model's and the text is a real one.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import shapes

# About as many weights, layer for layer, as the models of these names.
SHAPES = {
    "20M": {"n_embd": 256, "n_layer": 4, "n_head": 4},
    "135M": {"n_embd": 768, "n_layer": 12, "n_head": 12},
    "1B": {"n_embd": 2048, "n_layer": 20, "n_head": 32},
}
VOCABULARY, POSITIONS = 49152, 4096
_BODY = "body.safetensors"


class Replay:
    """Makes model directories under `directory`; the weights they share are written once."""

    def __init__(self, directory: Path, shape: str) -> None:
        self._directory = Path(directory)
        self._hidden = SHAPES[shape]["n_embd"]
        self._config = {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": VOCABULARY,
            "n_positions": POSITIONS,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            **SHAPES[shape],
        }
        draw = np.random.default_rng(3)
        self._rows = draw.normal(size=(VOCABULARY, self._hidden)).astype(np.float32)
        self._directory.mkdir(parents=True, exist_ok=True)
        if not (self._directory / _BODY).exists():
            given = {"lm_head.weight": self._rows}
            shapes.write(self._directory / _BODY, self._tensors(), given=given)

    def _tensors(self) -> dict[str, tuple[int, ...]]:
        hidden = self._hidden
        tensors = {"transformer.wte.weight": (VOCABULARY, hidden)}
        for i in range(self._config["n_layer"]):
            p = f"transformer.h.{i}."
            for name, k, n in (
                ("attn.c_attn", hidden, 3 * hidden),
                ("attn.c_proj", hidden, hidden),
                ("mlp.c_fc", hidden, 4 * hidden),
                ("mlp.c_proj", 4 * hidden, hidden),
            ):
                tensors |= {f"{p}{name}.weight": (k, n), f"{p}{name}.bias": (n,)}
            for name in ("ln_1", "ln_2"):
                tensors |= {f"{p}{name}.weight": (hidden,), f"{p}{name}.bias": (hidden,)}
        tensors |= {"transformer.ln_f.weight": (hidden,), "transformer.ln_f.bias": (hidden,)}
        return tensors | {"lm_head.weight": (VOCABULARY, hidden)}

    def model(self, name: str, prompt: list[int], answer: list[int]) -> Path:
        """The directory of a model that goes on with `answer` after `prompt`."""
        where = self._directory / name
        where.mkdir(exist_ok=True)
        # At a position the hidden state is mostly this vector: it says what stands at the next one.
        script = (prompt + answer)[1 : POSITIONS + 1]
        positions = np.zeros((POSITIONS, self._hidden), np.float32)
        positions[: len(script)] = 8 * self._rows[script]
        table = {"transformer.wpe.weight": (POSITIONS, self._hidden)}
        given = {"transformer.wpe.weight": positions}
        shapes.write(where / "positions.safetensors", table, given=given)
        body = where / _BODY
        if not body.exists():
            body.symlink_to(Path("..") / _BODY)
        files = dict.fromkeys(self._tensors(), _BODY) | dict.fromkeys(
            table, "positions.safetensors"
        )
        index = {"metadata": {}, "weight_map": files}
        (where / "model.safetensors.index.json").write_text(json.dumps(index))
        (where / "config.json").write_text(json.dumps(self._config, indent=1))
        return where
