"""Ids of text and of an image's codes in one vocabulary: given only where they are allowed."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
from families import CASES
from genfast.errors import LoadError

FAMILY = next(family for family in CASES if family.id == "chameleon-images")
CODES = sorted(i for n, i in FAMILY.config["vocabulary_map"].items() if n.startswith("IMGIMG"))
GREEDY = {"max_tokens": 64, "ignore_eos": True}


@pytest.fixture
def model(tmp_path):
    with genfast.load(FAMILY.write(tmp_path), dtype="float32", kv_dtype="float32") as opened:
        yield opened


def test_codes_come_only_where_they_are_allowed(model):
    with np.load(FAMILY.file) as golden:
        ids, both, text = (golden[name].tolist() for name in ("ids_0", "greedy", "without_codes"))
    assert set(both) & set(CODES) and not set(text) & set(CODES)
    assert model.generate(ids, **GREEDY).token_ids == text
    assert model.generate(ids, **GREEDY, suppress_tokens=[]).token_ids == both
    texts = [i for i in range(model.vocab_size) if i not in CODES]
    assert set(model.generate(ids, **GREEDY, suppress_tokens=texts).token_ids) <= set(CODES)
    beams = model.generate(ids, **GREEDY, num_beams=3).token_ids
    assert not set(beams) & set(CODES)


@pytest.mark.parametrize(
    "names, message",
    [
        ({"IMGIMGAZ": 64}, r"vocabulary_map\.IMGIMGAZ: found 64, expected an integer from 0 to 63"),
        (["IMGIMGAZ"], "vocabulary_map: found .* expected an object"),
    ],
)
def test_a_bad_map_is_refused(tmp_path, names, message):
    with pytest.raises(LoadError, match=message):
        genfast.load(FAMILY.write(tmp_path, vocabulary_map=names))
