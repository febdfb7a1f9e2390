"""Stable Diffusion 3 and Flux against diffusers, from the same noise."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import genfast
import tiny_pipelines as tiny
from genfast.errors import LoadError

CLOSE = 1e-3
SIZE = {"height": 16, "width": 16}
COMMON = {"steps": tiny.STEPS, "seed": tiny.SEED, "output_type": "np", **SIZE}
GUIDED = {**COMMON, "guidance_scale": tiny.GUIDANCE}


def same(found, expected) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE)


@pytest.fixture
def sd3(tmp_path):
    return tiny.with_golden("sd3", tmp_path)


def test_sd3_is_that_of_diffusers(sd3):
    path, golden = sd3
    with genfast.load(path) as pipe:
        made = pipe.generate(tiny.PROMPTS, negative_prompt=tiny.NEGATIVE, **GUIDED)
        same(made.images, golden["negative"])
        same(pipe.generate(tiny.PROMPTS, **GUIDED).images, golden["no_negative"])
        options = {**COMMON, "guidance_scale": 1, "scheduler": "flow_euler"}
        same(pipe.generate(tiny.PROMPTS, **options).images, golden["unguided"])


def test_sd3_with_a_shift_by_the_size(sd3):
    path, golden = sd3
    tiny.edit(path / "scheduler/scheduler_config.json", use_dynamic_shifting=True)
    with genfast.load(path) as pipe:
        same(pipe.generate(tiny.PROMPTS, **GUIDED).images, golden["dynamic"])


def test_sd3_without_t5(sd3):
    path, golden = sd3
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(path / part)
        tiny.edit(path / "model_index.json", **{part: [None, None]})
    with genfast.load(path) as pipe:
        same(pipe.generate(tiny.PROMPTS, **GUIDED).images, golden["no_t5"])


def test_the_same_bits_alone_and_a_picture_that_is_changed(sd3):
    with genfast.load(sd3[0], threads=1) as pipe:
        options = {**GUIDED, "steps": 4}
        both = pipe.generate(tiny.PROMPTS, **options).images
        assert pipe.generate(tiny.PROMPTS[0], **options).images[0].tobytes() == both[0].tobytes()
        close, far = (
            pipe.generate("a", image=tiny.picture(1), strength=strength, **options)
            for strength in (0.25, 1.0)
        )
        assert (close.steps, far.steps) == (1, 4)
        assert np.abs(close.images - far.images).mean() > 0.01


def test_flux_dev_is_that_of_diffusers(tmp_path):
    path, golden = tiny.with_golden("flux-dev", tmp_path)
    with genfast.load(path) as pipe:
        same(pipe.generate(tiny.PROMPTS, **GUIDED).images, golden["images"])
        with pytest.raises(ValueError, match="negative_prompt needs guidance_scale above 1, and"):
            pipe.generate("a", negative_prompt="bad", **GUIDED)


def test_flux_schnell_is_that_of_diffusers(tmp_path):
    path, golden = tiny.with_golden("flux-schnell", tmp_path)
    with genfast.load(path, threads=1) as pipe:
        both = pipe.generate(tiny.PROMPTS, **COMMON).images
        same(both, golden["images"])
        alone = pipe.generate(tiny.PROMPTS[1], n=2, **COMMON).images
        assert alone[1].tobytes() == both[1].tobytes()
        with pytest.raises(ValueError, match="guidance_scale is not allowed: this model is told"):
            pipe.generate("a", **GUIDED)


def test_flux_fill_is_that_of_diffusers(tmp_path):
    path, golden = tiny.with_golden("flux-fill", tmp_path)
    options = {**GUIDED, "image": tiny.picture(1)}
    with genfast.load(path) as pipe:
        same(pipe.generate(tiny.PROMPTS, mask=tiny.half(), **options).images, golden["filled"])
        made = pipe.generate(tiny.PROMPTS, mask=tiny.half(), strength=0.5, **options)
        same(made.images, golden["changed"])
        with pytest.raises(ValueError, match="this model needs image and mask"):
            pipe.generate("a", **options)
    tiny.edit(path / "model_index.json", _class_name="FluxPipeline")
    with pytest.raises(LoadError, match="in_channels: found 144, expected 64, four latents"):
        genfast.load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheduler": "ddim"}, "scheduler='ddim' is not allowed; allowed: None, 'flow_euler'"),
        ({"height": 18}, "height=18 is not allowed; allowed: a multiple of 4, up to 24"),
        ({"width": 28}, "width=28 is not allowed; allowed: a multiple of 4, up to 24"),
    ],
)
def test_what_sd3_refuses(sd3, options, message):
    with genfast.load(sd3[0]) as pipe, pytest.raises(ValueError, match=message):
        pipe.generate("a", **options)


BREAKS = {
    "scheduler": (
        lambda d: tiny.edit(d / "scheduler/scheduler_config.json", _class_name="DDIMScheduler"),
        'scheduler_config.json: _class_name: found "DDIMScheduler", expected "FlowMatch',
    ),
    "encoder": (
        lambda d: tiny.edit(d / "model_index.json", text_encoder_2=[None, None]),
        r"model_index\.json: text_encoder_2: found \[null, null\]",
    ),
    "t5": (lambda d: shutil.rmtree(d / "text_encoder_3"), "component text_encoder_3: no folder"),
    "t5-tokens": (
        lambda d: (d / "tokenizer_3/tokenizer.json").unlink(),
        r"component tokenizer_3: no tokenizer\.json or spiece\.model",
    ),
    "channels": (
        lambda d: tiny.edit(d / "transformer/config.json", in_channels=4),
        r"transformer/config\.json: in_channels: found 4, expected 16",
    ),
    "pooled": (
        lambda d: tiny.edit(d / "transformer/config.json", pooled_projection_dim=39),
        r"transformer/config\.json: pooled_projection_dim: found 39, expected 40",
    ),
    "text": (
        lambda d: tiny.edit(d / "transformer/config.json", joint_attention_dim=48),
        r"transformer/config\.json: joint_attention_dim: found 48, expected 56",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_bad_directories_name_component_and_field(sd3, name):
    spoil, message = BREAKS[name]
    spoil(sd3[0])
    with pytest.raises(LoadError, match=message):
        genfast.load(sd3[0])


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("in_channels", 16, 64),
        ("out_channels", 16, 64),
        ("pooled_projection_dim", 20, 24),
        ("joint_attention_dim", 20, 56),
    ],
)
def test_bad_fluxes_name_the_field(tmp_path, field, value, expected):
    path, _ = tiny.with_golden("flux-schnell", tmp_path)
    tiny.edit(path / "transformer/config.json", **{field: value})
    with pytest.raises(
        LoadError, match=rf"{field}: found ({value}|null|nothing), expected {expected}"
    ):
        genfast.load(path)
