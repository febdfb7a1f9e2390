"""PixArt-alpha, which is told sizes, and -sigma against diffusers, from the same noise."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genfast
import tiny_model
import tiny_pipelines as tiny
from genfast.errors import LoadError
from networks import tensors

STEM = "diffusion_pytorch_model"

CLOSE = 1e-3
COMMON = {"steps": tiny.STEPS, "seed": tiny.SEED, "output_type": "np", "height": 16, "width": 16}
GUIDED = {**COMMON, "guidance_scale": tiny.GUIDANCE}


@pytest.mark.parametrize("kind", ["pixart-alpha", "pixart-sigma"])
def test_images_are_those_of_diffusers(tmp_path, kind):
    path, golden = tiny.with_golden(kind, tmp_path)
    with genfast.load(path, threads=1) as pipe:
        made = pipe.generate(tiny.PROMPTS, negative_prompt=tiny.NEGATIVE, **GUIDED).images
        np.testing.assert_allclose(made, golden["negative"], rtol=0, atol=CLOSE)
        made = pipe.generate(tiny.PROMPTS, **GUIDED).images
        np.testing.assert_allclose(made, golden["no_negative"], rtol=0, atol=CLOSE)
        alone = pipe.generate(" A CAB ", **GUIDED).images
        assert alone[0].tobytes() == made[0].tobytes()


@pytest.mark.parametrize("kind", ["pixart-sigma", "dit"])
def test_the_class_as_it_was_called_at_first(tmp_path, kind):
    path, _ = tiny.with_golden(kind, tmp_path)
    tiny.edit(path / "model_index.json", transformer=["diffusers", "Transformer2DModel"])
    tiny.edit(path / "transformer/config.json", _class_name="Transformer2DModel")
    genfast.load(path).close()
    tiny.edit(path / "transformer/config.json", _class_name="SD3Transformer2DModel")
    with pytest.raises(LoadError, match=r'_class_name: found "SD3.*, expected one of .*, Transf'):
        genfast.load(path)


def test_weights_in_parts(tmp_path):
    path, golden = tiny.with_golden("pixart-sigma", tmp_path)
    folder = path / "transformer"
    (folder / f"{STEM}.safetensors").unlink()
    weights = tensors(json.loads(str(golden["shapes"]))["transformer"])
    tiny_model.write_tensors(folder, STEM, weights, shards=3)
    with genfast.load(path) as pipe:
        made = pipe.generate(tiny.PROMPTS, **GUIDED).images
    np.testing.assert_allclose(made, golden["no_negative"], rtol=0, atol=CLOSE)
    part = folder / f"{STEM}-00002-of-00003.safetensors"
    whole = part.read_bytes()
    part.unlink()
    with pytest.raises(
        LoadError, match=rf"{part.name}: no such file, though {STEM}\.safetensors\."
    ):
        genfast.load(path)
    tiny_model.write_safetensors(part, {})
    message = rf"{part.name}: tensor .* is missing, though {STEM}\.safetensors\.index\.json says"
    with pytest.raises(LoadError, match=message):
        genfast.load(path)
    # A file of another precision beside whole ones is left alone.
    part.write_bytes(whole)
    tiny_model.write_safetensors(folder / f"{STEM}.fp16.safetensors", {}, "F16")
    genfast.load(path).close()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("in_channels", 16, "in_channels: found 16, expected 4, as many as the vae"),
        ("out_channels", 6, "out_channels: found 6, expected 4, as .*, or twice as many"),
        ("caption_channels", 20, "caption_channels: found 20, expected 56, the d_model"),
    ],
)
def test_bad_directories_name_component_and_field(tmp_path, field, value, message):
    path, _ = tiny.with_golden("pixart-sigma", tmp_path)
    tiny.edit(path / "transformer/config.json", **{field: value})
    with pytest.raises(LoadError, match=rf"transformer/config\.json: {message}"):
        genfast.load(path)
