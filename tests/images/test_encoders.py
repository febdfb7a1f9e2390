"""Text encoders of image models against transformers, and the same bits in any batch."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tolerance
from encoders import CASES, IDS, SEEN, Encoder
from genfast.errors import LoadError
from genfast.images.models.clip_text import CLIPTextModel, CLIPTextModelWithProjection
from genfast.images.models.t5_encoder import T5EncoderModel

KINDS = {
    "CLIPTextModel": CLIPTextModel,
    "CLIPTextModelWithProjection": CLIPTextModelWithProjection,
    "T5EncoderModel": T5EncoderModel,
}
CLOSE = 1e-4  # of the norm, in float32


def open_case(case: Encoder, directory, **options):
    with np.load(case.file) as file:
        golden = dict(file)
    shapes = json.loads(str(golden["shapes"]))
    return KINDS[case.class_name](case.write(directory, shapes), **options), golden


def answers(case: Encoder, model, ids=IDS, seen=SEEN) -> dict[str, np.ndarray]:
    if case.is_t5:
        return {"states": model(ids), "masked": model(ids, seen)}
    found = model(ids)
    return {"last": found.last, "before_last": found.before_last, "pooled": found.pooled}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_like_transformers(case, tmp_path):
    model, golden = open_case(case, tmp_path)
    for name, found in answers(case, model).items():
        expected = golden[name]
        assert found.shape == expected.shape
        if name == "masked":  # what padding comes to is nobody's business
            found, expected = found[SEEN], expected[SEEN]
        size = found.shape[-1]
        far = tolerance.relative_distance(found.reshape(-1, size), expected.reshape(-1, size))
        assert far.max() <= CLOSE, name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_same_bits_alone_and_on_other_threads(case, tmp_path):
    one, _ = open_case(case, tmp_path / "one", threads=1)
    two, _ = open_case(case, tmp_path / "two", threads=2)
    together = answers(case, one)
    for name, found in answers(case, two).items():
        assert found.tobytes() == together[name].tobytes()
    for name, found in answers(case, two, IDS[1:], SEEN[1:]).items():
        assert found.tobytes() == together[name][1:].tobytes()


@pytest.mark.parametrize(
    ("index", "field", "value"),
    [
        (0, "hidden_size", 25),
        (0, "hidden_act", "swish"),
        (0, "num_hidden_layers", 0),
        (3, "feed_forward_proj", "maxout"),
        (3, "d_kv", "six"),
    ],
)
def test_bad_configs_name_the_field(index, field, value, tmp_path):
    case = CASES[index]
    bad = Encoder(case.class_name, case.name, {**case.config, field: value})
    with pytest.raises(LoadError, match=rf"config.json: {field}: found "):
        open_case(bad, tmp_path)


def test_a_text_that_is_too_long(tmp_path):
    model, _ = open_case(CASES[0], tmp_path)
    with pytest.raises(ValueError, match="11 tokens exceed the encoder's 10"):
        model(np.zeros((1, 11), np.int64))
