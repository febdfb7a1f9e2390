"""SD3's transformer against diffusers, and the same bits alone and on other threads."""

from __future__ import annotations

import json

import numpy as np
import pytest

from genfast.errors import LoadError
from genfast.images.models.sd3_transformer import SD3Transformer2DModel
from sd3_cases import CASES

CLOSE = 1e-4  # of the norm, in float32


def open_case(case, directory, **options):
    with np.load(case.file) as file:
        golden = dict(file)
    case.write(directory, json.loads(str(golden["shapes"])))
    return SD3Transformer2DModel(directory, **options), golden


def inputs(case, items=slice(None)):
    given = case.arrays()
    text, pooled = given["encoder_hidden_states"], given["pooled_projections"]
    times = np.array(case.timesteps, np.float32)
    return given["sample"][items], times[items], text[items], pooled[items]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_like_diffusers(case, tmp_path):
    model, golden = open_case(case, tmp_path)
    found, expected = model(*inputs(case)), golden["velocity"]
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= CLOSE * np.linalg.norm(expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_same_bits_alone_and_on_other_threads(case, tmp_path):
    one, _ = open_case(case, tmp_path / "one", threads=1)
    two, _ = open_case(case, tmp_path / "two", threads=2)
    together = one(*inputs(case))
    assert two(*inputs(case)).tobytes() == together.tobytes()
    assert two(*inputs(case, slice(1, 2))).tobytes() == together[1:2].tobytes()


def test_sides_that_do_not_fit_and_bad_fields(tmp_path):
    case = CASES[0]
    model, _ = open_case(case, tmp_path)
    sample, times, text, pooled = inputs(case)
    with pytest.raises(ValueError, match="height 7; allowed: a multiple of 2 to 12"):
        model(sample[:, :, :7], times, text, pooled)
    config = tmp_path / "config.json"
    fields = json.loads(config.read_text())
    for field, value in (("qk_norm", "layer_norm"), ("caption_projection_dim", 25)):
        config.write_text(json.dumps({**fields, field: value}))
        with pytest.raises(LoadError, match=rf"config\.json: {field}: found"):
            SD3Transformer2DModel(tmp_path)
