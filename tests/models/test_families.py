"""Every family against transformers: logits, whole and through the cache, and 64 greedy tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genfast
import tiny_model
import tolerance
from families import CASES
from family import Family

# The bound, and far more than the roundings of two or three layers in float32.
CLOSE = 1e-4


@pytest.fixture(params=CASES, ids=lambda family: family.id)
def family(request):
    return request.param


@pytest.fixture
def golden(family: Family):
    with np.load(family.file) as file:
        found = dict(file)
    found["shapes"] = json.loads(str(found["shapes"]))
    fresh = found["checksum"] == family.checksum(found["shapes"])
    assert fresh, f"stale: run tools/make_family_goldens.py {family.id}"
    return found


@pytest.fixture
def model(family: Family, golden, tmp_path):
    tensors = family.tensors(golden["shapes"])
    tiny_model.write_model(tmp_path, family.full_config(), 0, tensors=tensors)
    with genfast.load(tmp_path, dtype="float32", kv_dtype="float32") as opened:
        yield language_model(opened)


def language_model(opened):
    """Itself, or of a pipeline that makes images with one."""
    return getattr(opened, "model", opened)


def test_like_transformers(family, model, golden):
    for i in range(2):
        ids, expected = golden[f"ids_{i}"].tolist(), golden[f"logits_{i}"]
        got = model.logits(ids)
        known = got[:, : expected.shape[1]]  # of ids that are ours, upstream has no logits
        assert tolerance.relative_distance(known, expected).max() <= CLOSE
        through_the_cache = model.logits(ids, chunk=3, reuse=False)
        assert got.tobytes() == through_the_cache.tobytes()
    options = {"max_tokens": 64, "temperature": 0, "ignore_eos": True, **family.options}
    out = model.generate(golden["ids_0"].tolist(), **options)
    assert out.token_ids == golden["greedy"].tolist()
    alone = model.logits(golden["ids_0"].tolist() + out.token_ids, reuse=False)
    alone = alone[len(golden["ids_0"]) - 1 : -1, : expected.shape[1]]
    assert alone.argmax(-1).tolist() == out.token_ids


FIRST = {family.model_type: family for family in reversed(CASES)}


@pytest.mark.parametrize("family", FIRST.values(), ids=FIRST)
@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_same_bits_quantised_beside_others_and_on_other_threads(
    family, quantize, golden, tmp_path, monkeypatch
):
    """With every op held to its reference too."""
    monkeypatch.setenv("GENFAST_CHECK", "1")
    tensors = family.tensors(golden["shapes"])
    tiny_model.write_model(tmp_path, family.full_config(), 0, tensors=tensors)
    ids, options = golden["ids_1"].tolist(), {"max_tokens": 6, "temperature": 0, "ignore_eos": True}
    seen = set()
    for threads in (1, 2):
        with genfast.load(tmp_path, quantize=quantize, threads=threads) as opened:
            model = language_model(opened)
            alone = model.generate(ids, **options).token_ids
            beside = model.generate([golden["ids_0"].tolist(), ids], **options)[1].token_ids
            pieces = model.logits(ids, chunk=5, reuse=False)
            seen.add((model.logits(ids, reuse=False).tobytes(), tuple(alone)))
            seen.add((pieces.tobytes(), tuple(beside)))
    assert len(seen) == 1


def test_experts_count_in_what_a_token_moves(tmp_path):
    family = next(f for f in CASES if f.id == "qwen3_moe-base")  # 3 of 6 experts a token
    with np.load(family.file) as file:
        shapes = json.loads(str(file["shapes"]))
    tiny_model.write_model(tmp_path, family.full_config(), 0, tensors=family.tensors(shapes))
    with genfast.load(tmp_path) as model:
        few, more = (
            model.generate(list(range(n)), max_tokens=1, ignore_eos=True).usage.bytes_moved
            for n in (1, 40)
        )
        assert model.weight_bytes / 3 < few < model.weight_bytes < more
