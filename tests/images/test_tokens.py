"""Image tokens: codes from the engine of text, decoded by a VQ model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import genfast
import networks
import tiny_model
from genfast.errors import LoadError
from genfast.images.models.autoencoder_kl import VQModel
from genfast.model import Model

sys.path.append(str(Path(__file__).resolve().parents[1] / "models"))
import families

VQ = next(case for case in networks.CASES if case.class_name == "VQModel")
GPT = next(family for family in families.CASES if family.id == "imagegpt-base")
CODES, CLASSES, SIDE = VQ.config["num_vq_embeddings"], 3, 4


def shapes_of(file) -> dict[str, list[int]]:
    with np.load(file) as golden:
        return json.loads(str(golden["shapes"]))


@pytest.fixture
def directory(tmp_path):
    VQ.write(tmp_path / "vqvae", shapes_of(VQ.file))
    config = tmp_path / "vqvae/config.json"
    scale = 2 ** (len(VQ.config["block_out_channels"]) - 1)
    fields = {**json.loads(config.read_text()), "sample_size": SIDE * scale}
    config.write_text(json.dumps(fields))
    vocabulary = CODES + CLASSES + 1
    text = {**GPT.full_config(), "vocab_size": vocabulary, "n_positions": SIDE**2 + 1}
    shapes = shapes_of(GPT.file)
    shapes["transformer.wte.weight"][0] = vocabulary
    shapes["transformer.wpe.weight"][0] = SIDE**2 + 1
    shapes["lm_head.weight"][0] = vocabulary - 1
    folder = tmp_path / "transformer"
    folder.mkdir()
    tiny_model.write_model(folder, text, 0, tensors=GPT.tensors(shapes))
    index = {
        "_class_name": "ImageTokensPipeline",
        "transformer": ["transformers", "ImageGPTForCausalImageModeling"],
        "vqvae": ["diffusers", "VQModel"],
        "classes": CLASSES,
        "first_class_token": CODES,
    }
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    return tmp_path


def test_an_image_is_the_decoded_codes_of_the_engine(directory):
    with genfast.load(directory) as pipe:
        made = pipe.generate([2, 0], seed=7, output_type="np").images
        drawn = [
            pipe.model.generate(
                [CODES + label],
                max_tokens=SIDE**2,
                temperature=1,
                seed=7 + image,
                ignore_eos=True,
                logit_bias=dict.fromkeys(range(CODES, CODES + CLASSES + 1), -100.0),
            ).token_ids
            for image, label in enumerate((2, 0))
        ]
        assert isinstance(pipe.model, Model)
    codes = np.array(drawn).reshape(2, SIDE, SIDE)
    assert codes.max() < CODES and len(np.unique(codes)) > 3
    pixels = VQModel(directory / "vqvae").decode_codes(codes)
    expected = np.clip(pixels.transpose(0, 2, 3, 1) / 2 + 0.5, 0, 1)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6)


def test_the_same_bits_alone_and_on_other_threads(directory):
    seen = set()
    for threads in (1, 2):
        with genfast.load(directory, threads=threads) as pipe:
            seen.add(pipe.generate([1, 2], seed=5, output_type="np").images[0].tobytes())
            seen.add(pipe.generate(1, seed=5, output_type="np").images[0].tobytes())
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("first_class_token", 5), ("classes", 4 + CLASSES), ("transformer", ["x", "GPT2LMHeadModel"])],
)
def test_bad_fields_are_named(directory, field, value):
    file = directory / "model_index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    with pytest.raises(LoadError, match=rf"model_index\.json: {field}: found"):
        genfast.load(directory)


def test_codes_that_are_none(directory):
    with genfast.load(directory) as pipe:
        for codes in ([[0] * 3], [[CODES] * SIDE**2], [[0.5] * SIDE**2]):
            with pytest.raises(ValueError, match=r"codes=.* is not allowed"):
                pipe.decode(codes)
        with pytest.raises(ValueError, match="steps is not allowed"):
            pipe.generate(1, steps=3)
