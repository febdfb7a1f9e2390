"""DCGAN's generator against plain loops in float64, its batch norms not folded."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genfast
import tiny_model
from genfast.errors import LoadError

CONFIG = {
    "model_type": "dcgan",
    "latent_size": 5,
    "num_classes": 3,
    "channels": [12, 7, 3],
    "kernel_sizes": [2, 4, 4],
    "strides": [1, 2, 2],
    "paddings": [0, 1, 1],
}


def tensors() -> dict[str, np.ndarray]:
    made, inputs = {}, CONFIG["latent_size"] + CONFIG["num_classes"]
    for i, (outputs, k) in enumerate(zip(CONFIG["channels"], CONFIG["kernel_sizes"], strict=True)):
        name = f"main.{3 * i}.weight"
        made[name] = tiny_model.uniform(5, name, (inputs, outputs, k, k)) * np.float32(0.5)
        if i < 2:
            for part in ("weight", "bias", "running_mean", "running_var"):
                name = f"main.{3 * i + 1}.{part}"
                u = tiny_model.uniform(5, name, (outputs,))
                made[name] = u if part in ("bias", "running_mean") else np.float32(1) + u / 2
        inputs = outputs
    return made


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tiny_model.write_safetensors(tmp_path / "model.safetensors", tensors(), "F32")
    return tmp_path


def transposed(x: np.ndarray, w: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """x [C, H, W], w [C, O, k, k]: every input pixel leaves a weighted kernel."""
    k, side = w.shape[2], (x.shape[1] - 1) * stride + w.shape[2]
    out = np.zeros((w.shape[1], side, side))
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            stamp = np.einsum("c,cokl->okl", x[:, i, j], w)
            out[:, i * stride : i * stride + k, j * stride : j * stride + k] += stamp
    return out[:, padding : side - padding, padding : side - padding]


def oracle(latents: np.ndarray, label: int) -> np.ndarray:
    w = {name: t.astype(np.float64) for name, t in tensors().items()}
    x = np.concatenate([latents, np.eye(3)[label]])[:, None, None]
    for i, (stride, padding) in enumerate(zip(CONFIG["strides"], CONFIG["paddings"], strict=True)):
        x = transposed(x, w[f"main.{3 * i}.weight"], stride, padding)
        if i < 2:
            part = {p: w[f"main.{3 * i + 1}.{p}"][:, None, None] for p in BATCH_NORM}
            x = (x - part["running_mean"]) / np.sqrt(part["running_var"] + 1e-5)
            x = np.maximum(x * part["weight"] + part["bias"], 0)
    return np.tanh(x)


BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def test_images_are_the_oracle_s(directory):
    with genfast.load(directory) as pipe:
        latents = pipe.latents(2, seed=3)
        made = pipe.generate([2, 0], seed=3, output_type="np").images
    assert made.shape == (2, 8, 8, 3)
    for image, z, label in zip(made, latents, (2, 0), strict=True):
        expected = oracle(z.astype(np.float64), label).transpose(1, 2, 0) / 2 + 0.5
        np.testing.assert_allclose(image, expected, rtol=0, atol=1e-5)


def test_the_same_bits_alone_and_on_other_threads(directory):
    seen = set()
    for threads in (1, 2):
        with genfast.load(directory, threads=threads) as pipe:
            seen.add(pipe.generate([1, 2], seed=5, output_type="np").images[0].tobytes())
            seen.add(pipe.generate(1, seed=5, output_type="np").images[0].tobytes())
    assert len(seen) == 1


def test_latents_truncated_given_and_refused(directory):
    with genfast.load(directory) as pipe:
        assert np.abs(pipe.latents(50, 3, truncation=0.5)).max() <= 0.5
        latents = pipe.latents(1, 3)
        given = pipe.generate(1, latents=latents, seed=9, output_type="np").images
        assert given.tobytes() == pipe.generate(1, seed=3, output_type="np").images.tobytes()
        with pytest.raises(ValueError, match="steps is not allowed"):
            pipe.generate(1, steps=3)
        with pytest.raises(ValueError, match="prompt=3 is not allowed; allowed: a class, 0 to 2"):
            pipe.generate(3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("channels", [12, 7, 2]), ("strides", [1, 2]), ("paddings", [1, 1, 1]), ("latent_size", 0)],
)
def test_bad_configs_name_the_field(directory, field, value):
    (directory / "config.json").write_text(json.dumps({**CONFIG, field: value}))
    with pytest.raises(LoadError, match=rf"config\.json: {field}: found"):
        genfast.load(directory)
