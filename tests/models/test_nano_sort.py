"""A trained gpt2 that sorts six letters of three, and every intermediate of one batch of it."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import genfast

DIRECTORY = Path(__file__).resolve().parents[3] / "shared/data/models/gpt-nano-sort"
pytestmark = pytest.mark.skipif(not DIRECTORY.is_dir(), reason=f"no {DIRECTORY}")

# Their name → ours. Theirs are of the first block, where they are of any.
TAPS = {
    "x": "embed_positions",
    "ln1": "layers.0.attention_norm",
    "qkv": "layers.0.qkv",
    "y": "layers.0.attention",
    "attnResid": "layers.0.attention_out",
    "ln2": "layers.0.mlp_norm",
    "gelu": "layers.0.mlp_up",
    "block0": "layers.0.mlp_out",
    "block1": "layers.1.mlp_out",
    "block2": "layers.2.mlp_out",
    "ln_f": "final_norm",
    "lm_head": "logits",
}


@pytest.fixture(scope="module")
def model():
    with genfast.load(DIRECTORY, dtype="float32", kv_dtype="float32") as model:
        yield model


@pytest.fixture(scope="module")
def partials():
    raw = json.loads((DIRECTORY / "expected-partials.json").read_text())
    raw.pop("config")
    return {
        name: np.frombuffer(base64.b64decode(t["data"]), "<f4").reshape(t["shape"])
        for name, t in raw.items()
    }


def test_sorts_every_input(model):
    inputs = [list(p) for p in itertools.product(range(3), repeat=6)]
    assert len(inputs) == 729
    outs = model.generate(inputs, max_tokens=6, temperature=0)
    wrong = [i for i, o in zip(inputs, outs, strict=True) if o.token_ids != sorted(i)]
    assert not wrong, f"{len(wrong)} wrong, as {wrong[0]}"


def test_intermediates(model, partials):
    for row, ids in enumerate(partials["idx"].astype(int).tolist()):
        taps = model.tap(ids, list(TAPS.values()))
        for theirs, ours in TAPS.items():
            got = taps[ours].reshape(partials[theirs][row].shape)
            np.testing.assert_allclose(
                got, partials[theirs][row], rtol=0, atol=1e-4, err_msg=f"{theirs} = {ours}"
            )


def test_logits(model, partials):
    for row, ids in enumerate(partials["idx"].astype(int).tolist()):
        np.testing.assert_allclose(model.logits(ids), partials["lm_head"][row], rtol=0, atol=1e-4)
