"""The bundled gallery: every kind makes the digits it is asked for, the same ones again."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
import judge
from genfast.images import gallery

WANTED = 0.85
PER_CLASS = 10


def test_it_is_small():
    files = [f for f in gallery.path("gan").parent.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) <= 3_000_000


@pytest.mark.parametrize("name", gallery.KINDS)
def test_digits_are_those_asked_for(name):
    made = gallery.digits(name, PER_CLASS, seed=1)
    labels = np.arange(10).repeat(PER_CLASS)
    right = judge.digits(made) == labels
    print(name, right.mean())
    assert right.mean() >= WANTED
    # … and not one picture of each
    for digit in range(10):
        assert len({image.tobytes() for image in made[labels == digit]}) == PER_CLASS


def test_the_vq_vae_makes_known_digits_again():
    assert (judge.digits(gallery.known()) == np.arange(10)).sum() >= 9


@pytest.mark.parametrize("name", gallery.KINDS)
def test_the_same_bits_alone_and_on_other_threads(name):
    options = {"seed": 5, "output_type": "np"} | ({"steps": 4} if name == "ddpm" else {})
    seen = set()
    for threads in (1, 2):
        with genfast.load(gallery.path(name), threads=threads) as pipe:
            seen.add(pipe.generate([3, 8], **options).images[0].tobytes())
            seen.add(pipe.generate(3, **options).images[0].tobytes())
            assert pipe.generate(3, **options | {"seed": 6}).images[0].tobytes() not in seen
    assert len(seen) == 1


def test_a_sheet_of_all():
    sheet = gallery.sheet(0, per_class=1, scale=2)
    assert sheet.dtype == np.uint8 and sheet.shape == (4 * 10 * 2, 10 * 10 * 2)


def test_what_a_kind_has_no_use_for_is_refused():
    with genfast.load(gallery.path("gan")) as pipe:
        with pytest.raises(ValueError, match="steps is not allowed"):
            pipe.generate(1, steps=3)
        with pytest.raises(ValueError, match="prompt=10 is not allowed; allowed: a class, 0 to 9"):
            pipe.generate(10)
        latents = pipe.latents(1, 3)
        assert pipe.generate(1, latents=latents, output_type="np").images.shape == (1, 8, 8, 1)
        assert np.abs(pipe.latents(50, 3, truncation=0.5)).max() <= 0.5
    with pytest.raises(ValueError, match="name='diffusion' is not allowed"):
        gallery.path("diffusion")
