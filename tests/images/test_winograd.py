"""winograd=True: images stay those of diffusers, and what the bundled DDPM draws stays digits."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
import judge
import tiny_pipelines as tiny
from genfast.images import gallery
from genfast.images.weights import ImageWeights


@pytest.fixture
def convolved(monkeypatch):
    """The names of the convolutions that Winograd's way took."""
    names = []

    def spy(self, name, outputs, inputs, original=ImageWeights.winograd_conv):
        names.append(name)
        return original(self, name, outputs, inputs)

    monkeypatch.setattr(ImageWeights, "winograd_conv", spy)
    return names


def test_images_are_those_of_diffusers(tmp_path, convolved):
    path, golden = tiny.with_golden("sd", tmp_path)
    with genfast.load(path, winograd=True) as pipe:
        made = pipe.generate(
            tiny.PROMPTS,
            negative_prompt=tiny.NEGATIVE,
            guidance_scale=tiny.GUIDANCE,
            scheduler="ddim",
            steps=tiny.STEPS,
            seed=tiny.SEED,
            output_type="np",
            height=16,
            width=16,
        )
    np.testing.assert_allclose(made.images, golden["ddim"], rtol=0, atol=1e-3)
    assert any(name.startswith("mid_block") for name in convolved)
    assert not any(name.startswith(("conv_in", "conv_out")) for name in convolved)


@pytest.mark.parametrize(
    "options", [{}, {"dtype": "bfloat16"}, {"quantize": "int8"}], ids=["f32", "bf16", "int8"]
)
def test_drawn_digits_stay_legible(options, convolved):
    with genfast.load(gallery.path("ddpm"), winograd=True, **options) as pipe:
        made = pipe.generate(range(10), n=10, seed=1, steps=25, output_type="np").images[..., 0]
    assert convolved
    asked = np.repeat(np.arange(10), 10)
    assert (judge.digits(made) == asked).mean() >= 0.85


def test_models_of_text_refuse_it():
    with pytest.raises(ValueError, match=r"winograd=True is not allowed: .*default is no image"):
        genfast.load(winograd=True)
