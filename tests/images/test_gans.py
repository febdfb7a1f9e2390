"""BigGAN and StyleGAN2 against upstream's images; truncation, seeds and ways between images."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

import genfast
import test_dcgan
import tiny_model
from gan_cases import CASES
from genfast.config import Fields
from genfast.errors import LoadError
from genfast.images.models import biggan as biggan_model

CLOSE = 1e-4
dcgan = test_dcgan.directory
BIGGAN, STYLEGAN2, CLASSES = CASES


def written(case, directory):
    with np.load(case.file) as file:
        golden = dict(file)
    return case.write(directory / case.name, json.loads(str(golden["shapes"]))), golden


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture
def directory(case, tmp_path):
    return written(case, tmp_path)[0]


@pytest.fixture
def biggan(tmp_path):
    return written(BIGGAN, tmp_path)[0]


@pytest.fixture
def stylegan2(tmp_path):
    return written(STYLEGAN2, tmp_path)[0]


def prompt(case):
    return None if case.labels is None else list(case.labels)


def apart(got, expected):
    return np.linalg.norm(got - expected) / np.linalg.norm(expected)


def test_images_are_upstream_s(case, tmp_path):
    path, golden = written(case, tmp_path)
    with genfast.load(path) as pipe:
        for truncation in case.truncations:
            points = pipe.model.points(case.latents(), case.labels or [0, 0], truncation)
            got = pipe.model(points, truncation)
            assert apart(got, golden[str(truncation)]) <= CLOSE


def test_generate_gives_them(case, tmp_path):
    path, golden = written(case, tmp_path)
    truncation = case.truncations[0]
    options = {"latents": case.latents(), "truncation": truncation, "output_type": "np"}
    options |= {} if case.labels is not None else {"n": 2}
    with genfast.load(path) as pipe:
        made = pipe.generate(prompt(case), **options).images
    expected = golden[str(truncation)].transpose(0, 2, 3, 1) / 2 + 0.5
    np.testing.assert_allclose(made, expected.clip(0, 1), rtol=0, atol=1e-3)


def test_the_same_bits_alone_and_on_other_threads(case, directory):
    label, seen = prompt(case) and prompt(case)[0], set()
    for threads in (1, 2):
        with genfast.load(directory, threads=threads) as pipe:
            options = {"seed": 5, "truncation": 0.7, "output_type": "np"}
            seen.add(pipe.generate(label, n=3, **options).images[0].tobytes())
            seen.add(pipe.generate(label, **options).images[0].tobytes())
    assert len(seen) == 1


def test_a_batch_too_large_for_one_call(stylegan2, monkeypatch):
    monkeypatch.setattr("genfast.images.pipelines.gan._PIXELS", 2 * 16 * 16)
    seen = []
    with genfast.load(stylegan2) as pipe:
        made = pipe.generate(n=5, seed=3, output_type="np", callback=seen.append)
        first = pipe.generate(n=5, seed=3, output_type="np", callback=lambda step: step.index < 1)
    assert [(step.index, step.steps, len(step.sample)) for step in seen] == [
        (0, 3, 2),
        (1, 3, 4),
        (2, 3, 5),
    ]
    assert (first.finish_reason, len(first.images)) == ("cancelled", 4)
    assert first.images.tobytes() == made.images[:4].tobytes()


@pytest.mark.parametrize("quantize", ["int8"])
def test_quantised(case, tmp_path, quantize):
    path, golden = written(case, tmp_path)
    with genfast.load(path, quantize=quantize) as pipe:
        truncation = case.truncations[0]
        points = pipe.model.points(case.latents(), case.labels or [0, 0], truncation)
        assert apart(pipe.model(points, truncation), golden[str(truncation)]) < 0.1


def test_weights_that_were_divided_before(biggan, tmp_path):
    """As other tools save spectral norm: `weight` alone."""
    with np.load(BIGGAN.file) as file:
        tensors = BIGGAN.tensors(json.loads(str(file["shapes"])))
    folded = {}
    for name, tensor in tensors.items():
        if name.endswith("weight_orig"):
            u, v = (tensors[name.replace("_orig", f"_{x}")].astype(np.float64) for x in "uv")
            sigma = u @ tensor.reshape(len(tensor), -1).astype(np.float64) @ v
            folded[name.removesuffix("_orig")] = (tensor / sigma).astype(np.float32)
        elif not name.endswith(("weight_u", "weight_v")):
            folded[name] = tensor
    (tmp_path / "folded").mkdir()
    (tmp_path / "folded/config.json").write_text(json.dumps({**BIGGAN.config}))
    tiny_model.write_safetensors(tmp_path / "folded/model.safetensors", folded, "F32")
    made = []
    for path in (biggan, tmp_path / "folded"):
        with genfast.load(path) as pipe:
            made.append(pipe.generate(2, seed=1, output_type="np").images)
    np.testing.assert_allclose(*made, rtol=0, atol=1e-5)


def test_truncation_keeps_to_the_average(biggan, stylegan2):
    with genfast.load(biggan) as pipe:
        assert np.abs(pipe.latents(50, 3, truncation=0.5)).max() <= 1
        with pytest.raises(ValueError, match=r"truncation=1.5 is not allowed; allowed: above 0"):
            pipe.generate(1, truncation=1.5)
    with genfast.load(stylegan2) as pipe:
        made = pipe.generate(n=2, seed=1, truncation=0, output_type="np").images
        assert made[0].tobytes() == made[1].tobytes()


@pytest.mark.parametrize("known", [2, 50, 51])
def test_no_truncation_is_the_last_of_the_known(known):
    """50: where 1 / (1 / 49) rounds to more than 49."""
    cfg = dataclasses.replace(
        biggan_model.Config.from_json(Fields(BIGGAN.config, "config.json")), statistics=known
    )
    # Means and variances tell which truncation they are of.
    weights = SimpleNamespace(
        array=lambda name, known, count: np.tile(np.arange(known, dtype=np.float32), (count, 1)).T,
        vector=lambda name, sizes: np.ones(sizes[0], np.float32),
    )
    first = biggan_model.statistics(weights, cfg, 1.0)[0, 0]
    assert first == np.float32(1) / np.sqrt(np.float32(known - 1) + np.float32(cfg.eps))


@pytest.mark.parametrize("kind", ["biggan", "dcgan", "stylegan2"])
def test_a_way_between_two_images(kind, request):
    ends = {"biggan": [3, 0], "dcgan": [2, 1], "stylegan2": None}[kind]
    options = {"truncation": 0.8, "output_type": "np"}
    with genfast.load(request.getfixturevalue(kind)) as pipe:
        way = pipe.interpolate(1, 2, 5, ends, **options)
        first, last = (
            pipe.generate(label, seed=seed, **options).images[0]
            for seed, label in zip((1, 2), ends or [None] * 2, strict=True)
        )
        near = pipe.interpolate(1, 2, 400, ends, **options).images[1]
    assert (len(way.images), way.finish_reason, way.seed) == (5, "stop", 1)
    assert way.images[0].tobytes() == first.tobytes()
    assert way.images[-1].tobytes() == last.tobytes()
    whole = np.abs(last - first).mean()
    assert 0 < np.abs(near - first).mean() < 0.1 * whole
    steps = np.abs(np.diff(way.images, axis=0)).mean((1, 2, 3))
    assert (steps > 0).all() and (steps < 2 * whole).all()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((1, -2), {}, "seed_b=-2 is not allowed"),
        ((1, 2, 1), {}, "steps=1 is not allowed"),
        ((1, 2, 3, [0, 1, 2]), {}, r"prompt=\[0, 1, 2\] is not allowed; allowed: a class, or two"),
        ((1, 2, 3, 7), {}, "prompt=7 is not allowed"),
        ((1, 2, 3, 0), {"n": 2}, "n is not allowed: there are seed_a"),
        ((1, 2, 3, 0), {"height": 8}, "height is not allowed: interpolate goes"),
    ],
)
def test_wrong_ways_are_refused(biggan, arguments, options, message):
    with genfast.load(biggan) as pipe, pytest.raises(ValueError, match=message):
        pipe.interpolate(*arguments, **options)


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (BIGGAN, "layers", [[True, 16, 8]]),
        (BIGGAN, "layers", "many"),
        (BIGGAN, "layers", [*[[True, 16, 16]] * 13, *([False, n, n // 2] for n in (16, 8, 4, 2))]),
        (BIGGAN, "channel_width", 3),
        (BIGGAN, "attention_layer_position", 9),
        (BIGGAN, "output_dim", 128),
        (BIGGAN, "class_embed_dim", 7),
        (STYLEGAN2, "img_resolution", 24),
        (STYLEGAN2, "img_channels", 2),
        (STYLEGAN2, "architecture", "resnet"),
        (STYLEGAN2, "num_mapping_layers", 0),
    ],
)
def test_bad_configs_name_the_field(tmp_path, config, field, value):
    path = written(config, tmp_path)[0]
    (path / "config.json").write_text(json.dumps({**config.config, field: value}))
    with pytest.raises(LoadError, match=rf"config\.json: {field}: found"):
        genfast.load(path)


def test_tensors_that_do_not_fit_are_named(stylegan2):
    (stylegan2 / "config.json").write_text(json.dumps({**STYLEGAN2.config, "w_dim": 11}))
    with pytest.raises(LoadError, match=r"mapping\.w_avg.*found shape \[10\], expected \[11\]"):
        genfast.load(stylegan2)
