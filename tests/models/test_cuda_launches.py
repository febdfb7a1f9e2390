"""A decoding step's launches on a GPU: how many there are, and that those which do the work of
several give the same bits."""

from __future__ import annotations

import ctypes

import pytest

import genfast
import tiny_model
from test_cuda import CONFIG, FAMILIES

pytestmark = pytest.mark.slow

FORMATS = {
    "bf16": {"dtype": "bfloat16", "kv_dtype": "bfloat16"},
    "int8": {"quantize": "int8", "kv_dtype": "int8"},
    "int4": {"quantize": "int4", "kv_dtype": "int4"},
}


@pytest.fixture
def cuda(emulation, monkeypatch):
    monkeypatch.setenv("GENFAST_CUDA_LIBRARY", str(emulation))
    return {"device": "cuda", "kv_cache_bytes": 1 << 24}


@pytest.fixture
def launches(emulation):
    """How many there have been."""
    count = ctypes.CDLL(str(emulation)).genfast_emulated_launches
    count.restype = ctypes.c_int64
    return count


def launches_of_a_layer(launches, path, layers, **options):
    """In a step that decodes one sequence."""
    steps = []
    for count in (layers, layers + 1):
        config = CONFIG | {"num_hidden_layers": count}
        with genfast.load(
            tiny_model.write_model(path / str(count), config, seed=7), **options
        ) as m:
            totals = []
            for tokens in (2, 2, 3):  # what is captured is so in the first run
                before = launches()
                m.generate([1, 2, 3], max_tokens=tokens, temperature=0, ignore_eos=True)
                totals.append(launches() - before)
            steps.append(totals[2] - totals[1])
    return steps[1] - steps[0]


# norm | q, k, v | rotation and append | attention | merge | out | norm | gate and up | down
@pytest.mark.parametrize("format", FORMATS)
def test_launches_of_a_layer(format, tmp_path, cuda, launches, monkeypatch):
    options = {**cuda, **FORMATS[format]}
    assert launches_of_a_layer(launches, tmp_path, 1, **options) == 9
    monkeypatch.setenv("GENFAST_CUDA_FUSE", "0")
    assert launches_of_a_layer(launches, tmp_path, 1, **options) == 14


def run(path, ids, options):
    """Logits of a prompt at once and token by token, and tokens with others in the batch."""
    with genfast.load(path, **options) as model:
        options = {"max_tokens": 2, "temperature": 0.9, "seed": 3, "ignore_eos": True}
        drawn = model.generate([ids[:4], ids[1:3], ids[2:7]], logprobs=2, **options)
        return {
            "whole": model.logits(ids, reuse=False).tobytes(),
            "by one": model.logits(ids[:3], chunk=1, reuse=False).tobytes(),
            "drawn": [(out.token_ids, out.logprobs) for out in drawn],
        }


def check_same(path, ids, options, monkeypatch):
    monkeypatch.setenv("GENFAST_CUDA_FUSE", "0")
    want = run(path, ids, options)
    monkeypatch.delenv("GENFAST_CUDA_FUSE")
    got = run(path, ids, options)
    for what in want:
        assert got[what] == want[what], what


SIZES = {
    "plain": {},
    "odd": {"hidden_size": 50, "intermediate_size": 67, "head_dim": 10},
    "K in two parts": {"num_hidden_layers": 1, "intermediate_size": 2080},
}


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("format", FORMATS)
def test_the_same_bits_in_fewer_launches(format, sizes, rng, tmp_path, cuda, monkeypatch):
    path = tiny_model.write_model(tmp_path, CONFIG | SIZES[sizes], seed=7)
    ids = rng.integers(97, size=19).tolist()  # more than are prepared by whoever comes last
    check_same(path, ids, {**cuda, **FORMATS[format]}, monkeypatch)


@pytest.mark.parametrize("format", ["bf16", "int8"])
def test_the_same_bits_where_the_program_is_cut(format, rng, tmp_path, cuda, monkeypatch):
    path = tiny_model.write_model(tmp_path, CONFIG, seed=7)
    ids = rng.integers(97, size=19).tolist()
    check_same(path, ids, {**cuda, **FORMATS[format], "gpu_layers": 1}, monkeypatch)


# Head norms; one norm for attention and feed-forward; layer norms; experts beside a router; norms
# of whole queries; limits; heads without rotation; state.
@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_same_bits_of_families(name, rng, tmp_path, cuda, monkeypatch):
    path = FAMILIES[name].write(tmp_path)
    ids = rng.integers(60, size=9).tolist()
    check_same(path, ids, {**cuda, "quantize": "int8", "kv_dtype": "bfloat16"}, monkeypatch)
