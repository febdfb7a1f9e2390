"""`genfast serve` of an image model: what it sends is what the pipeline draws."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from starlette.testclient import TestClient

import genfast
import test_dcgan
from genfast.serve import create_app

Image = pytest.importorskip("PIL.Image")
directory = test_dcgan.directory


def test_images_are_the_pipeline_s(directory):
    with genfast.load(directory) as pipe, TestClient(create_app(pipe)) as client:
        asked = {"prompt": 2, "seed": 9, "n": 2}
        made = client.post("/v1/images/generations", json=asked).json()
        drawn = pipe.generate(2, seed=9, n=2).images
        for item, image in zip(made["data"], drawn, strict=True):
            sent = Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))
            assert np.array_equal(np.asarray(sent), np.asarray(image))
        refused = client.post("/v1/images/generations", json={**asked, "prompt": 7})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "prompt"
