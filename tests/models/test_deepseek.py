"""DeepSeek's latent attention through the engine: its cache of one row a token is a cache like any
other, whatever its type."""

from __future__ import annotations

import json

import numpy as np
import pytest

import families
import genfast
import tiny_model

IDS = list(range(40))
GREEDY = {"max_tokens": 24, "temperature": 0, "ignore_eos": True}


@pytest.fixture(params=["deepseek_v2-many_heads", "deepseek_v3-yarn"])
def directory(request, tmp_path):
    family = next(f for f in families.CASES if f.id == request.param)
    with np.load(family.file) as file:
        shapes = json.loads(str(file["shapes"]))
    return tiny_model.write_model(tmp_path, family.full_config(), 0, tensors=family.tensors(shapes))


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8", "fp8"])
def test_same_bits(directory, kv_dtype):
    """Whole as in pieces, from the cache as computed, guessed as not."""
    with genfast.load(directory, kv_dtype=kv_dtype, threads=2) as model:
        logits = {
            model.logits(IDS, reuse=False).tobytes(),
            model.logits(IDS, chunk=7, reuse=False).tobytes(),
            model.logits(IDS).tobytes(),
            model.logits(IDS).tobytes(),
        }
        assert len(logits) == 1
        text = IDS[:6] * 6
        plain = model.generate(text, speculate=False, **GREEDY).token_ids
        assert model.generate(text, speculate=True, **GREEDY).token_ids == plain


def test_a_window(directory):
    """Pages that nobody looks at any more are given back, and no bit changes."""
    with genfast.load(directory, window=16, sinks=4) as model:
        new = model.generate(IDS, **GREEDY | {"max_tokens": 50}).token_ids
        whole = model.logits(IDS + new, reuse=False)
        assert whole[len(IDS) - 1 : -1].argmax(-1).tolist() == new
        assert model.logits(IDS + new, chunk=5, reuse=False).tobytes() == whole.tobytes()
    with genfast.load(directory) as model:
        assert model.logits(IDS + new, reuse=False).tobytes() != whole.tobytes()


def test_no_int4_cache(directory):
    with pytest.raises(ValueError, match="kv_dtype='int4' is not there for latent attention"):
        genfast.load(directory, kv_dtype="int4")
