"""Codes to images: VQ-VAE-2 against plain torch, VQGAN against diffusers, LlamaGen's in Janus."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genfast
import tiny_model
from genfast.errors import LoadError
from genfast.images.models.vqgan import VQGAN
from genfast.images.models.vqvae2 import VQVAE2
from vq_cases import CASES, Case

CLOSE = 1e-4  # of the norm: the bound


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request):
    return request.param


def golden_of(case: Case) -> dict:
    with np.load(case.file) as file:
        found = dict(file)
    return {**found, "shapes": json.loads(str(found["shapes"]))}


def answers(case: Case, model, golden: dict, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    if case.kind == "VQGAN":
        return {"image": model.decode_codes(golden["codes"][rows])}
    image = 2 * tiny_model.uniform(1, "image", case.shape)
    top, bottom = model.encode(image[rows])
    decoded = model.decode_codes(golden["top"][rows], golden["bottom"][rows])
    return {"top": top, "bottom": bottom, "image": decoded}


def opened(case: Case, directory, **options):
    return {"VQGAN": VQGAN, "VQVAE2": VQVAE2}[case.kind](directory, **options)


def distance(got: np.ndarray, expected: np.ndarray) -> float:
    assert got.shape == expected.shape
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_like_torch(case, tmp_path):
    golden = golden_of(case)
    model = opened(case, case.write(tmp_path, golden["shapes"]))
    got = answers(case, model, golden)
    assert distance(got.pop("image"), golden["image"]) <= CLOSE
    for name, codes in got.items():
        assert (codes == golden[name]).all(), name


def test_same_bits_for_any_batch_and_threads(case, tmp_path, monkeypatch):
    monkeypatch.setenv("GENFAST_CHECK", "1")
    golden = golden_of(case)
    directory = case.write(tmp_path, golden["shapes"])
    one = answers(case, opened(case, directory, threads=1), golden)
    model = opened(case, directory, threads=3)
    for n in range(len(golden["image"])):
        for name, got in answers(case, model, golden, slice(n, n + 1)).items():
            assert got[0].tobytes() == one[name][n].tobytes(), name


@pytest.mark.parametrize(
    "options, bound",  # as in test_networks.py
    [({"dtype": "bfloat16"}, 0.02), ({"quantize": "int8"}, 0.06)],
    ids=["bfloat16", "int8"],
)
def test_other_formats(case, tmp_path, options, bound):
    golden = golden_of(case)
    directory = case.write(tmp_path, golden["shapes"])
    got = answers(case, opened(case, directory, **options), golden)["image"]
    assert 0 < distance(got, golden["image"]) <= bound


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("VQGAN-base", {"ddconfig": None}, "ddconfig: found null"),
        ("VQGAN-base", {"n_embed": 25}, "quantize.embedding.weight.*found shape"),
        ("VQGAN-base", {"embed_dim": 0}, "embed_dim: found 0, expected an integer from 1"),
        ("VQVAE2-base", {"channel": 15}, "channel: found 15, expected an even number"),
        ("VQVAE2-base", {"channel": 18}, "enc_b.blocks.0.*found shape"),
        ("VQVAE2-base", {"n_res_block": 3}, "missing|found shape"),
    ],
)
def test_bad_directories_are_refused(tmp_path, name, change, message):
    case = next(case for case in CASES if case.id == name)
    golden = golden_of(case)
    with pytest.raises(LoadError, match=message):
        answers(case, opened(case, case.write(tmp_path, golden["shapes"], **change)), golden)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"ch": 40}, "ddconfig.ch: found 40, expected multiples of 32"),
        ({"resolution": 15}, "ddconfig.resolution: found 15, expected a multiple of 2"),
        ({"ch_mult": []}, "ddconfig.ch_mult"),
    ],
)
def test_bad_sizes_of_a_vqgan_are_refused(tmp_path, change, message):
    case = next(case for case in CASES if case.id == "VQGAN-base")
    ddconfig = {**case.config["ddconfig"], **change}
    with pytest.raises(LoadError, match=message):
        VQGAN(case.write(tmp_path, golden_of(case)["shapes"], ddconfig=ddconfig))


def test_what_is_no_code_is_refused(tmp_path):
    case = next(case for case in CASES if case.id == "VQVAE2-base")
    model = opened(case, case.write(tmp_path, golden_of(case)["shapes"]))
    codes = np.zeros((1, 2, 2), int)
    with pytest.raises(ValueError, match=r"bottom \[N, 2 h, 2 w\], found shapes \[1, 2, 2\]"):
        model.decode_codes(codes, codes)
    with pytest.raises(ValueError, match="codes from 20 to 20; allowed: 0 to 19"):
        model.decode_codes(codes + 20, np.zeros((1, 4, 4), int))
    with pytest.raises(ValueError, match="as ints, found float64"):
        model.decode_codes(codes * 1.0, np.zeros((1, 4, 4), int))
    with pytest.raises(ValueError, match="multiples of 8"):
        model.encode(np.zeros((1, 3, 8, 12)))


@pytest.fixture
def tokens_dir(tmp_path):
    """Llama over the codes of a VQGAN, told one of three classes."""
    case = next(case for case in CASES if case.id == "VQGAN-base")
    case.write(tmp_path / "vqvae", golden_of(case)["shapes"])
    llama = {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 44,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 24 + 3,
        "max_position_embeddings": 96,
    }
    tiny_model.write_model(tmp_path / "transformer", llama, 1)
    index = {
        "_class_name": "ImageTokensPipeline",
        "transformer": ["transformers", "LlamaForCausalLM"],
        "vqvae": ["genfast", "VQGAN"],
        "classes": 3,
        "first_class_token": 24,
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    return tmp_path


def test_a_language_model_draws_codes_of_a_vqgan(tokens_dir):
    with genfast.load(tokens_dir) as pipe:
        steps = []
        made = pipe.generate([0, 2], seed=4, output_type="np", callback=steps.append)
        assert made.images.shape == (2, 16, 16, 3) and made.steps == len(steps) == 64
        codes = steps[-1].sample.reshape(2, -1).astype(int)
        pixels = pipe.decode(codes).transpose(0, 2, 3, 1)
        assert np.array_equal(made.images, np.clip(pixels / 2 + np.float32(0.5), 0, 1))
        classes = [24, 25, 26]
        options = {"temperature": 1.0, "max_tokens": 64, "ignore_eos": True, "seed": 4}
        drawn = pipe.model.generate([24], suppress_tokens=classes, **options)
        assert codes[0].tolist() == drawn.token_ids
        greedy = pipe.generate(1, temperature=0, output_type="np").images
        assert (
            greedy.tobytes() == pipe.generate(1, top_k=1, seed=9, output_type="np").images.tobytes()
        )
        with pytest.raises(ValueError, match="guidance_scale is not allowed"):
            pipe.generate(1, guidance_scale=3.0)


def test_a_pipeline_of_other_sizes_is_refused(tokens_dir):
    index = json.loads((tokens_dir / "model_index.json").read_text())
    (tokens_dir / "model_index.json").write_text(json.dumps({**index, "classes": 4}))
    with pytest.raises(LoadError, match="classes: found 4, expected at most 3"):
        genfast.load(tokens_dir)
