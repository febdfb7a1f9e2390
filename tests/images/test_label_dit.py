"""The trained class-conditional diffusion transformer of shared/data: its eps, and its digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import genfast
import tiny_model
from genfast.errors import LoadError
from genfast.images import noise
from genfast.images.models.label_dit import LabelDiT

MODEL = Path(__file__).resolve().parents[2] / "../shared/data/models/dit-mnist-classcond"
needs_model = pytest.mark.skipif(not MODEL.is_dir(), reason="needs the trained transformer")


@needs_model
def test_eps_is_the_published_one():
    golden = np.load(MODEL / "golden_eps.npz")
    model = LabelDiT(MODEL)
    eps = model(golden["x"], golden["t"], golden["y"])
    distance = np.linalg.norm(eps - golden["eps"]) / np.linalg.norm(golden["eps"])
    assert distance <= 1e-5
    alone = model(golden["x"][3:4], golden["t"][3:4], golden["y"][3:4])
    assert alone.tobytes() == eps[3:4].tobytes()


@needs_model
@pytest.mark.slow
def test_digits_are_those_asked_for():
    """By the model's own judgement: of ten labels, the one that best explains the noise put on an
    image is the image's (Li et al., 2023, arXiv 2303.16203)."""
    with genfast.load(MODEL) as pipe:
        made = pipe.generate(list(range(10)), seed=4, steps=50, output_type="np").images
        assert made.shape == (10, 28, 28, 1)
        images = made.transpose(0, 3, 1, 2) * np.float32(2) - np.float32(1)
        run = pipe.scheduler.run(1000)
        errors = np.zeros((10, 10))
        for call in range(350, 700, 50):
            drawn = noise.normal(1, 0, call, (1, 28, 28))
            noisy = run.noised(call, images, drawn).repeat(10, axis=0)
            eps = pipe.model(noisy, run.timesteps[call], np.tile(np.arange(10), 10))
            errors += ((eps - drawn) ** 2).mean((1, 2, 3)).reshape(10, 10)
    assert (errors.argmin(1) == np.arange(10)).sum() >= 8


def test_a_tensor_that_is_missing(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"note": "none"}))
    file = tmp_path / "diffusion_model.safetensors"
    tiny_model.write_safetensors(file, {"conv.weight": np.zeros((4, 1, 4, 4), np.float32)}, "F32")
    with pytest.raises(LoadError, match=r"label_emb\.weight"):
        genfast.load(tmp_path)
