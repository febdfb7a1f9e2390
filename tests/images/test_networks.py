"""Every network against diffusers, and the promises that hold for text too: the same bits for any
batch and number of threads."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tiny_model
from genfast.errors import LoadError
from genfast.images.models.autoencoder_kl import AutoencoderKL, VQModel
from genfast.images.models.unet2d import UNet2DModel
from genfast.images.models.unet2d_condition import UNet2DConditionModel
from networks import CASES, Case, tensors

CLASSES = {
    kind.__name__: kind for kind in (UNet2DModel, UNet2DConditionModel, AutoencoderKL, VQModel)
}
CLOSE = 1e-4  # of the norm: the issue's bound, far more than float32's roundings here


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request):
    return request.param


@pytest.fixture
def golden(case: Case):
    with np.load(case.file) as file:
        found = dict(file)
    return {**found, "shapes": json.loads(str(found["shapes"]))}


def case_named(name: str) -> tuple[Case, dict]:
    case = next(case for case in CASES if case.id == name)
    with np.load(case.file) as file:
        return case, json.loads(str(file["shapes"]))


def opened(case: Case, shapes: dict, directory, **options):
    return CLASSES[case.class_name](case.write(directory, shapes), **options)


def answers(case: Case, model, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    given = {name: array[rows] for name, array in case.arrays().items()}
    sample = given.pop("sample")
    if case.class_name == "AutoencoderKL":
        mean, log_variance = model.encode(sample)
        return {"mean": mean, "log_variance": log_variance, "image": model.decode(mean)}
    if case.class_name == "VQModel":
        latents = model.encode(sample)
        codes = model.nearest(latents)
        return {"latents": latents, "codes": codes, "image": model.decode_codes(codes)}
    time = np.array(case.timesteps)[rows]
    if case.class_name == "UNet2DModel":
        classes = np.array([1, 3])[rows] if "num_class_embeds" in case.config else None
        return {"eps": model(sample, time, classes)}
    if "time_cond_proj_dim" in case.config:
        given["guidance"] = case.guidance()[rows]
    return {"eps": model(sample, time, **given)}


def distance(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_like_diffusers(case, golden, tmp_path):
    for name, got in answers(case, opened(case, golden["shapes"], tmp_path)).items():
        if name == "codes":
            assert (got == golden[name]).all()
        else:
            assert distance(got, golden[name]) <= CLOSE, name


def test_same_bits_for_any_batch_and_threads(case, golden, tmp_path):
    one = answers(case, opened(case, golden["shapes"], tmp_path, threads=1))
    model = opened(case, golden["shapes"], tmp_path, threads=3)
    three = answers(case, model)
    for name, expected in one.items():
        assert three[name].tobytes() == expected.tobytes(), name
    for n in range(len(case.arrays()["sample"])):
        for name, got in answers(case, model, slice(n, n + 1)).items():
            assert got[0].tobytes() == one[name][n].tobytes(), name


@pytest.mark.parametrize(
    "options, bound",
    # A weight and an activation are rounded to 8 bits each (2^-9 of themselves at most, and bf16
    # once more in attention), or to 127 steps of the largest of a row; tens of layers add up.
    [({"dtype": "bfloat16"}, 0.02), ({"quantize": "int8"}, 0.06)],
    ids=["bfloat16", "int8"],
)
def test_other_formats(case, golden, tmp_path, options, bound):
    model = opened(case, golden["shapes"], tmp_path, **options)
    exact = answers(case, opened(case, golden["shapes"], tmp_path))
    for name, got in answers(case, model).items():
        if name == "codes" or (case.class_name == "VQModel" and name == "image"):
            continue  # a code is taken or not
        off = distance(got, exact[name])
        assert 0 < off <= bound, name


def test_checks_every_op_against_the_reference(monkeypatch, tmp_path):
    monkeypatch.setenv("GENFAST_CHECK", "1")
    case, shapes = case_named("UNet2DConditionModel-xl")
    answers(case, opened(case, shapes, tmp_path))


def test_old_names_of_attention(tmp_path):
    case, shapes = case_named("UNet2DModel-base")
    expected = answers(case, opened(case, shapes, tmp_path / "new"))["eps"]
    case.write(tmp_path / "old", shapes)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(name: str) -> str:
        for new, former in old.items():
            name = name.replace(f".{new}.", f".{former}.")
        return name

    renamed = {rename(name): tensor for name, tensor in tensors(shapes).items()}
    assert renamed.keys() != shapes.keys()
    file = tmp_path / "old" / "diffusion_pytorch_model.safetensors"
    tiny_model.write_safetensors(file, renamed)
    assert answers(case, UNet2DModel(tmp_path / "old"))["eps"].tobytes() == expected.tobytes()


def test_tiles_come_close_to_the_whole(tmp_path):
    case, shapes = case_named("AutoencoderKL-no-attention")
    model = opened(case, shapes, tmp_path)
    latents = tiny_model.uniform(3, "latents", (1, 4, 20, 13))
    whole, tiled = model.decode(latents), model.decode(latents, tile=12)
    # Far from a seam tiles see nearly what the whole sees: group norms count other pixels.
    assert tiled.shape == whole.shape
    assert 0 < distance(tiled, whole) < 0.2
    assert model.decode(latents, tile=20).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("UNet2DModel-base", {"down_block_types": ["DownBlock2D"] * 3}, "down_block_types"),
        (
            "UNet2DModel-base",
            {"up_block_types": ["SkipUpBlock2D"] * 2},
            "up_block_types.*UpBlock2D",
        ),
        ("UNet2DModel-base", {"norm_num_groups": 5}, "block_out_channels.*norm_num_groups = 5"),
        ("UNet2DModel-base", {"time_embedding_type": "sinus"}, "time_embedding_type"),
        ("UNet2DModel-base", {"in_channels": 4}, "conv_in.weight.*found shape"),
        ("UNet2DModel-base", {"_class_name": "VQModel"}, "_class_name.*UNet2DModel"),
        ("UNet2DConditionModel-sd1", {"attention_head_dim": [2]}, "attention_head_dim.*2 numbers"),
        ("UNet2DConditionModel-sd1", {"class_embed_type": "timestep"}, "class_embed_type"),
        ("UNet2DConditionModel-sd1", {"cross_attention_dim": 13}, "attn2.to_k.weight.*found shape"),
        ("AutoencoderKL-base", {"norm_type": "spatial"}, "norm_type"),
        ("AutoencoderKL-base", {"latent_channels": 5}, "found shape"),
        ("VQModel-base", {"num_vq_embeddings": None}, "num_vq_embeddings"),
    ],
)
def test_bad_directories_are_refused(tmp_path, name, change, message):
    case, shapes = case_named(name)
    case.write(tmp_path, shapes)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(LoadError, match=message):
        answers(case, CLASSES[case.class_name](tmp_path))


def test_wrong_inputs_are_refused(tmp_path):
    case, shapes = case_named("UNet2DConditionModel-xl")
    model = opened(case, shapes, tmp_path / "unet")
    sample, text = np.zeros((2, 4, 8, 8)), np.zeros((2, 5, 12))
    with pytest.raises(ValueError, match="text_embeds and time_ids"):
        model(sample, 1, text)
    with pytest.raises(ValueError, match="3 timesteps for 2 images"):
        model(sample, [1, 2, 3], text, text_embeds=np.zeros((2, 10)), time_ids=np.zeros((2, 6)))
    with pytest.raises(ValueError, match="found shapes"):
        model(sample, 1, text[:1])
    for name, times, message in (
        ("fourier", [0.5, 0], r"noise levels \[0.5, 0.0\] are not all above 0"),
        ("resnets", [-1, 2], r"timesteps \[-1.0, 2.0\] do not all lie in 0 to \d+"),
    ):
        case, shapes = case_named(f"UNet2DModel-{name}")
        with pytest.raises(ValueError, match=message):
            opened(case, shapes, tmp_path / name)(case.arrays()["sample"], times)
    case, shapes = case_named("AutoencoderKL-base")
    model = opened(case, shapes, tmp_path / "vae")
    with pytest.raises(ValueError, match="multiples of 2"):
        model.encode(np.zeros((1, 3, 7, 8)))
    with pytest.raises(ValueError, match="tile=2"):
        model.decode(np.zeros((1, 4, 8, 8)), tile=2)
