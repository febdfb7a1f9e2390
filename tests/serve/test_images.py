"""Images, of a pipeline that draws squares."""

from __future__ import annotations

import base64
import io
import threading
import time
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from genfast.serve import Settings, create_app

Image = pytest.importorskip("PIL.Image")


class Squares:
    """What a server needs of an image pipeline. asked: the keywords of the last call."""

    def __init__(self):
        self.seconds, self.steps_done, self.asked = 0.0, 0, {}

    def generate(self, prompt, *, callback, n=1, width=8, height=8, **options):
        self.asked = {"prompt": prompt, "n": n, **options}
        if options.get("steps", 1) < 1:
            raise ValueError(f"steps={options['steps']} is not allowed; allowed: an int ≥ 1")
        if width % 8:
            raise ValueError(f"width={width} is not allowed; allowed: a multiple of 8")
        for step in range(20):
            time.sleep(self.seconds / 20)
            self.steps_done = step + 1
            if not callback(step):
                return SimpleNamespace(images=[], finish_reason="cancelled")
        images = [Image.new("RGB", (width, height), "teal") for _ in range(n)]
        return SimpleNamespace(images=images, finish_reason="stop")


@pytest.fixture
def squares():
    return Squares()


@pytest.fixture
def client(squares):
    with TestClient(create_app(squares, Settings(name="squares", deadline_seconds=2))) as client:
        yield client


def draw(client, **fields):
    return client.post("/v1/images/generations", json={"prompt": "a square", **fields})


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_images(client, squares, conforms, form):
    made = draw(client, n=2, size="24x16", seed=-1, steps=3, output_format=form).json()
    conforms("ImagesResponse", made)
    for item in made["data"]:
        image = Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))
        assert (image.size, image.format) == ((24, 16), form.upper())
    assert squares.asked == {"prompt": "a square", "n": 2, "steps": 3, "seed": 2**64 - 1}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"n": 11}, "n"),
        ({"size": "big"}, "size"),
        ({"size": "9x9"}, "size"),
        ({"steps": 0}, "steps"),
        ({"response_format": "url"}, "response_format"),
        ({"model": "dall-e"}, "model"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_a_bad_field_is_named(client, conforms, fields, param):
    response = draw(client, **fields)
    assert 400 <= response.status_code < 500
    conforms("ErrorResponse", response.json())
    assert response.json()["error"]["param"] == param


def test_a_deadline_stops_between_steps(client, squares):
    squares.seconds = 10.0
    assert draw(client).status_code == 503
    assert squares.steps_done < 20


def test_a_stopping_server_stops_between_steps(client, squares):
    squares.seconds = 1.5
    stopping = client.app.state.service
    threading.Timer(0.3, lambda: setattr(stopping, "stopping", True)).start()
    assert draw(client).status_code == 503
    assert squares.steps_done < 20


def test_there_is_no_text_to_have(client):
    assert client.post("/v1/completions", json={"prompt": "a"}).status_code == 404
    assert client.get("/v1/models").json()["data"][0]["id"] == "squares"
    assert client.get("/metrics").status_code == 200
    assert "/v1/images/generations" in client.get("/openapi.json").json()["paths"]
