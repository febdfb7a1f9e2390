"""Diffusion transformers against diffusers, and the same bits alone and on other threads."""

from __future__ import annotations

import json

import numpy as np
import pytest

from genfast.errors import LoadError
from genfast.images.models.flux_transformer import FluxTransformer2DModel
from genfast.images.models.pixart_transformer import PixArtTransformer2DModel
from genfast.images.models.sd3_transformer import SD3Transformer2DModel
from transformer_cases import CASES, GUIDANCE, SEEN, SIZE

KINDS = {
    "SD3Transformer2DModel": SD3Transformer2DModel,
    "PixArtTransformer2DModel": PixArtTransformer2DModel,
    "FluxTransformer2DModel": FluxTransformer2DModel,
}
CLOSE = 1e-4  # of the norm, in float32
ALL = slice(None)


def open_case(case, directory, **options):
    with np.load(case.file) as file:
        golden = dict(file)
    case.write(directory, json.loads(str(golden["shapes"])))
    return KINDS[case.class_name](directory, **options), golden


def answer(case, model, items=ALL):
    given = case.arrays()
    text, pooled = given["encoder_hidden_states"], given["pooled_projections"]
    times = np.array(case.timesteps, np.float32)
    told = [given["sample"][items], times[items], text[items]]
    if case.class_name == "PixArtTransformer2DModel":
        return model(*told, SEEN[items], SIZE if model.config.sizes else None)
    more = [GUIDANCE] if case.config.get("guidance_embeds") else []
    return model(*told, pooled[items], *more)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_like_diffusers(case, tmp_path):
    model, golden = open_case(case, tmp_path)
    found, expected = answer(case, model), golden["answer"]
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= CLOSE * np.linalg.norm(expected)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_same_bits_alone_and_on_other_threads(case, tmp_path):
    one, _ = open_case(case, tmp_path / "one", threads=1)
    two, _ = open_case(case, tmp_path / "two", threads=2)
    together = answer(case, one)
    assert answer(case, two).tobytes() == together.tobytes()
    assert answer(case, two, slice(1, 2)).tobytes() == together[1:2].tobytes()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize(
    ("options", "bound"),
    [({"dtype": "bfloat16"}, 0.02), ({"quantize": "int8"}, 0.06)],
    ids=["bfloat16", "int8"],
)
def test_other_formats(case, tmp_path, options, bound):
    model, golden = open_case(case, tmp_path, **options)
    off = np.linalg.norm(answer(case, model) - golden["answer"])
    assert 0 < off <= bound * np.linalg.norm(golden["answer"])


@pytest.mark.parametrize("class_name", KINDS)
def test_checks_every_op_against_the_reference(monkeypatch, tmp_path, class_name):
    monkeypatch.setenv("GENFAST_CHECK", "1")
    case = case_of(class_name)
    model, golden = open_case(case, tmp_path)
    assert answer(case, model).shape == golden["answer"].shape


def case_of(class_name):
    return next(case for case in CASES if case.class_name == class_name)


@pytest.mark.parametrize(
    ("class_name", "message"),
    [
        ("SD3Transformer2DModel", "height 7; allowed: a multiple of 2 to 12"),
        ("PixArtTransformer2DModel", "height 7; allowed: a multiple of 2"),
    ],
)
def test_sides_that_do_not_fit(tmp_path, class_name, message):
    case = case_of(class_name)
    model, _ = open_case(case, tmp_path)
    given = case.arrays()
    text, pooled = given["encoder_hidden_states"], given["pooled_projections"]
    with pytest.raises(ValueError, match=message):
        model(given["sample"][:, :, :7], 7, text, pooled)


def test_what_a_model_is_not_told(tmp_path):
    case = case_of("FluxTransformer2DModel")
    flux, _ = open_case(case, tmp_path / "flux")
    given = case.arrays()
    text, pooled = given["encoder_hidden_states"], given["pooled_projections"]
    with pytest.raises(ValueError, match="this model takes no guidance"):
        flux(given["sample"], 7, text, pooled, GUIDANCE)
    case = case_of("PixArtTransformer2DModel")
    alpha, _ = open_case(case, tmp_path / "pixart")
    with pytest.raises(ValueError, match="this model takes a size"):
        alpha(case.arrays()["sample"], 7, text)


@pytest.mark.parametrize(
    ("class_name", "field", "value"),
    [
        ("SD3Transformer2DModel", "qk_norm", "layer_norm"),
        ("SD3Transformer2DModel", "caption_projection_dim", 25),
        ("PixArtTransformer2DModel", "norm_type", "ada_norm_zero"),
        ("PixArtTransformer2DModel", "cross_attention_dim", 20),
        ("PixArtTransformer2DModel", "attention_head_dim", 9),
        ("FluxTransformer2DModel", "patch_size", 2),
        ("FluxTransformer2DModel", "axes_dims_rope", [4, 6, 8]),
        ("FluxTransformer2DModel", "axes_dims_rope", [5, 5, 6]),
    ],
)
def test_bad_fields(tmp_path, class_name, field, value):
    case = case_of(class_name)
    open_case(case, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**case.config, field: value}))
    with pytest.raises(LoadError, match=rf"config\.json: {field}: found"):
        KINDS[class_name](tmp_path)
