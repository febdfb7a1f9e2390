"""Whole pipelines against diffusers, from the same noise; what generate takes and refuses."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
import tiny_pipelines as tiny
from genfast.errors import LoadError
from genfast.images import noise, schedulers

CLOSE = 1e-3
WALKS = [name for name in schedulers.NAMES if name != "flow_euler"]  # diffusers has no such pair
SIZE = {"height": 16, "width": 16}
COMMON = {"steps": tiny.STEPS, "seed": tiny.SEED, "output_type": "np", **SIZE}


@pytest.fixture(scope="module", params=["sd", "xl"])
def opened(request, tmp_path_factory):
    path, golden = tiny.with_golden(request.param, tmp_path_factory.mktemp("pipelines"))
    with genfast.load(path) as pipe:
        yield pipe, golden


@pytest.fixture
def sd(tmp_path):
    return tiny.with_golden("sd", tmp_path)[0]


@pytest.mark.parametrize("scheduler", WALKS)
def test_images_are_those_of_diffusers(opened, scheduler):
    pipe, golden = opened
    made = pipe.generate(
        tiny.PROMPTS,
        negative_prompt=tiny.NEGATIVE,
        guidance_scale=tiny.GUIDANCE,
        scheduler=scheduler,
        **COMMON,
    )
    assert made.images.shape == golden[scheduler].shape
    np.testing.assert_allclose(made.images, golden[scheduler], rtol=0, atol=CLOSE)


def test_a_transformer_told_classes(tmp_path):
    path, golden = tiny.with_golden("dit", tmp_path)
    with genfast.load(path) as pipe:
        options = {**COMMON, "guidance_scale": tiny.GUIDANCE}
        made = pipe.generate(["fish", 1], **options).images
        np.testing.assert_allclose(made, golden["ddim"], rtol=0, atol=CLOSE)
        assert pipe.generate(3, **options).images[0].tobytes() == made[0].tobytes()
        with pytest.raises(ValueError, match="prompt='whale' is not allowed; allowed: a class, 0 "):
            pipe.generate("whale")
        with pytest.raises(ValueError, match="height and width must be 16"):
            pipe.generate(1, height=32)


def test_without_a_negative_prompt_and_without_guidance(opened):
    pipe, golden = opened
    latents = noise.batch(tiny.SEED, noise.INITIAL, tiny.LATENTS)
    common = {**COMMON, "latents": latents, "seed": 99}
    made = pipe.generate(tiny.PROMPTS, guidance_scale=tiny.GUIDANCE, **common)
    np.testing.assert_allclose(made.images, golden["no_negative"], rtol=0, atol=CLOSE)
    made = pipe.generate(tiny.PROMPTS, guidance_scale=1, **common)
    np.testing.assert_allclose(made.images, golden["unguided"], rtol=0, atol=CLOSE)


def test_the_same_bits_alone_in_a_batch_and_on_other_threads(sd):
    options = {**COMMON, "steps": 3, "scheduler": "euler_ancestral"}
    seen = set()
    for threads in (1, 2):
        with genfast.load(sd, threads=threads) as pipe:
            seen.add(pipe.generate(tiny.PROMPTS, **options).images[0].tobytes())
            seen.add(pipe.generate(tiny.PROMPTS[0], **options).images[0].tobytes())
    assert len(seen) == 1


def test_an_image_is_changed_where_the_mask_is_white(sd):
    picture = tiny.picture(1)
    mask = tiny.half()
    with genfast.load(sd) as pipe:
        vae_only = pipe.generate("a", image=picture, strength=0.1, **COMMON).images
        steps = pipe.generate("a", image=picture, strength=0.5, **COMMON)
        masked = pipe.generate("a", image=picture, mask=mask, strength=0.5, **COMMON).images
        far = pipe.generate("a", image=picture, strength=1.0, **COMMON).images
    assert steps.steps == 5
    kept = np.abs(masked - vae_only)[:, :, :6].mean()
    changed = np.abs(masked - vae_only)[:, :, 10:].mean()
    assert kept < changed
    assert np.abs(vae_only - steps.images).mean() < np.abs(vae_only - far).mean()


@pytest.mark.parametrize("kind", ["inpaint", "xl-inpaint"])
def test_a_model_that_fills_in(tmp_path, kind):
    path, golden = tiny.with_golden(kind, tmp_path)
    options = {**COMMON, "image": tiny.picture(1), "guidance_scale": tiny.GUIDANCE}
    with genfast.load(path) as pipe:
        made = pipe.generate(tiny.PROMPTS, mask=tiny.half(), **options)
        np.testing.assert_allclose(made.images, golden["filled"], rtol=0, atol=CLOSE)
        made = pipe.generate(tiny.PROMPTS, mask=tiny.half(), strength=0.5, **options)
        np.testing.assert_allclose(made.images, golden["changed"], rtol=0, atol=CLOSE)
        with pytest.raises(ValueError, match="this model needs image and mask"):
            pipe.generate("a", **options)
    tiny.edit(path / "unet/config.json", in_channels=8)
    with pytest.raises(LoadError, match=r"unet/config\.json: in_channels: found 8, expected 4"):
        genfast.load(path)


def test_a_callback_sees_steps_and_ends_the_run(sd):
    told = []

    def callback(step):
        told.append((step.index, step.steps, step.sample.shape))
        return step.index < 2

    with genfast.load(sd) as pipe:
        made = pipe.generate("a", callback=callback, **COMMON)
    assert told == [(i, tiny.STEPS, (1, 4, 8, 8)) for i in range(3)]
    assert made.finish_reason == "cancelled" and made.steps == 3
    assert made.images.shape == (1, 16, 16, 3)


def test_pil_images_and_a_seed_that_makes_them_again(sd):
    image = pytest.importorskip("PIL.Image")
    with genfast.load(sd) as pipe:
        made = pipe.generate("a", steps=2, n=2, **SIZE)
        again = pipe.generate("a", steps=2, n=2, seed=made.seed, **SIZE)
        changed = pipe.generate("a", steps=2, image=made.images[0], seed=1, **SIZE)
    assert [x.size for x in made.images] == [(16, 16)] * 2
    assert isinstance(changed.images[0], image.Image)
    for one, other in zip(made.images, again.images, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0 is not allowed"),
        ({"height": 17}, "height=17 is not allowed; allowed: a multiple of 4"),
        ({"seed": -1}, "seed=-1 is not allowed"),
        ({"guidance_scale": "much"}, "guidance_scale='much' is not allowed"),
        ({"output_type": "gif"}, "output_type='gif' is not allowed"),
        ({"scheduler": "heun"}, "scheduler='heun' is not allowed"),
        ({"latents": np.zeros((1, 4, 2, 2))}, r"latents has shape \[1, 4, 2, 2\]; allowed"),
        ({"image": np.zeros((3, 3, 3))}, r"image has shape \[3, 3, 3\]; allowed"),
        ({"mask": np.zeros((16, 16))}, "mask needs image"),
        ({"strength": 0.5}, "strength needs image"),
        ({"truncation": 1.0}, "truncation is not allowed: this is a diffusion model"),
        ({"stop": "a"}, "unknown keyword 'stop'"),
        ({"negative_prompt": ["a", "b"]}, "negative_prompt holds 2 texts; allowed: 1 or 1"),
        ({"negative_prompt": "a", "guidance_scale": 1}, "negative_prompt needs guidance_scale"),
        ({"image": tiny.picture(0), "strength": 0}, "strength=0 is not allowed"),
        ({"callback": 3}, "callback=3 is not allowed"),
    ],
)
def test_bad_keywords_are_named(sd, options, message):
    with genfast.load(sd) as pipe, pytest.raises(ValueError, match=message):
        pipe.generate("a", **{**SIZE, **options})


def test_a_closed_pipeline_says_so(sd):
    pipe = genfast.load(sd)
    for _ in range(2):
        pipe.close()
    with pytest.raises(RuntimeError, match=r"this pipeline \(.*\) is closed"):
        pipe.generate("a", **SIZE)


@pytest.mark.parametrize("prompt", [None, 3, [], ["a", 3], "\ud800"])
def test_bad_prompts(sd, prompt):
    with genfast.load(sd) as pipe, pytest.raises(ValueError, match="prompt"):
        pipe.generate(prompt, **SIZE)


BREAKS = {
    "no-unet": (
        lambda d: (d / "unet/config.json").unlink(),
        r"unet: component unet: no config\.json",
    ),
    "no-vae": (lambda d: (d / "vae").rename(d / "gone"), "component vae: no folder vae"),
    "no-weights": (
        lambda d: (d / "vae/diffusion_pytorch_model.safetensors").unlink(),
        "vae: no safetensors file",
    ),
    "no-tokens": (
        lambda d: (d / "tokenizer/vocab.json").unlink(),
        r"component tokenizer: no tokenizer\.json or vocab\.json",
    ),
    "no-scheduler": (
        lambda d: (d / "scheduler/scheduler_config.json").unlink(),
        r"component scheduler: no scheduler_config\.json",
    ),
    "pipeline": (
        lambda d: tiny.edit(d / "model_index.json", _class_name="VideoPipeline"),
        r'model_index\.json: _class_name: found "VideoPipeline", expected one of DDPMPipeline',
    ),
    "component": (
        lambda d: tiny.edit(d / "model_index.json", unet=["diffusers", "UNet3DConditionModel"]),
        r"model_index\.json: unet: found .*UNet3DConditionModel.*UNet2DConditionModel",
    ),
    "shape": (
        lambda d: tiny.edit(d / "model_index.json", vae="AutoencoderKL"),
        r"model_index\.json: vae: found \"AutoencoderKL\", expected \[",
    ),
    "channels": (
        lambda d: tiny.edit(d / "unet/config.json", in_channels=9),
        r"unet/config\.json: in_channels: found 9, expected 4",
    ),
    "latents": (
        lambda d: tiny.edit(d / "vae/config.json", latent_channels=16),
        "in_channels: found .*, expected 16",
    ),
    "width": (
        lambda d: tiny.edit(d / "unet/config.json", cross_attention_dim=32),
        r"unet/config\.json: cross_attention_dim: found 32, expected 24",
    ),
    "prediction": (
        lambda d: tiny.edit(d / "scheduler/scheduler_config.json", prediction_type="flow"),
        r"scheduler_config\.json: prediction_type: found \"flow\"",
    ),
    "encoder": (
        lambda d: tiny.edit(d / "model_index.json", text_encoder=[None, None]),
        r"model_index\.json: text_encoder: found \[null, null\]",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_bad_directories_name_component_and_field(sd, name):
    spoil, message = BREAKS[name]
    spoil(sd)
    with pytest.raises(LoadError, match=message):
        genfast.load(sd)
