"""Checkpoint: good directories give their bytes back, bad ones a LoadError that says why."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import bad_safetensors
import corpus
import good_directory
import tiny_model
from genfast.checkpoint import Checkpoint
from genfast.errors import LoadError

SHAPES = tiny_model.llama_shapes(good_directory.CONFIG)
ABOUT_WEIGHTS = (
    "file:",
    "header:",
    "entry:",
    "index:",
    "directory: model",
    "directory: no weights",
)
WEIGHT_CASES = {k: c for k, c in corpus.CASES.items() if c[1] and k.startswith(ABOUT_WEIGHTS)}


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("shards", [1, 3])
def test_tensors_come_back(tmp_path, dtype, shards):
    tensors = tiny_model.weights(good_directory.CONFIG, seed=5)
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5, dtype=dtype, shards=shards)
    with Checkpoint(tmp_path) as ckpt:
        assert ckpt.names() == sorted(tensors)
        assert len(ckpt.files) == shards
        total = 0
        for name, tensor in tensors.items():
            view = ckpt.tensor(name, tensor.shape)
            assert (view.name, view.dtype, view.shape) == (name, dtype, tensor.shape)
            assert view.data.tobytes() == tiny_model.to_bytes(tensor, dtype)
            assert view.data.dtype == np.uint8
            assert view.data.ndim == 1
            total += view.data.size
        assert ckpt.nbytes == total
        assert "lm_head.weight" in ckpt
        assert "lm_head.weights" not in ckpt


def test_the_reference_library_reads_what_the_tests_write(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5)
    theirs = safetensors.load_file(tmp_path / "model.safetensors")
    with Checkpoint(tmp_path) as ckpt:
        assert set(theirs) == set(ckpt.names())
        for name, tensor in theirs.items():
            assert ckpt.tensor(name, tensor.shape).data.tobytes() == tensor.tobytes()


def test_views_are_of_the_map_and_read_only(tmp_path):
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5)
    with Checkpoint(tmp_path) as ckpt:
        a, b = ckpt.tensor(good_directory.NORM), ckpt.tensor(good_directory.NORM)
        assert np.shares_memory(a.data, b.data)
        with pytest.raises(ValueError, match="read-only"):
            a.data[0] = 1


def test_views_outlive_the_checkpoint(tmp_path):
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5)
    ckpt = Checkpoint(tmp_path)
    view = ckpt.tensor(good_directory.NORM)
    before = view.data.tobytes()
    ckpt.close()
    ckpt.close()
    assert view.data.tobytes() == before
    with pytest.raises(LoadError, match="closed"):
        ckpt.tensor(good_directory.NORM)


def test_opening_and_failing_leave_no_descriptor(tmp_path):
    tiny_model.write_model(tmp_path / "good", good_directory.CONFIG, seed=5, shards=3)
    tiny_model.write_model(tmp_path / "bad", good_directory.CONFIG, seed=5, shards=3)
    last = sorted((tmp_path / "bad").glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:-1])
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        Checkpoint(tmp_path / "good").close()
        with pytest.raises(LoadError):
            Checkpoint(tmp_path / "bad")
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_hub_cache_is_links(tmp_path):
    """As huggingface_hub lays it out: every file a link that leaves the directory."""
    tiny_model.write_model(tmp_path / "blobs", good_directory.CONFIG, seed=5, shards=2)
    snapshot = tmp_path / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for file in (tmp_path / "blobs").iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    with Checkpoint(snapshot) as ckpt:
        assert len(ckpt) == len(SHAPES)


def test_any_single_file_will_do(tmp_path):
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5)
    (tmp_path / "model.safetensors").rename(tmp_path / "consolidated.safetensors")
    with Checkpoint(tmp_path) as ckpt:
        assert len(ckpt) == len(SHAPES)


def test_other_dtypes_may_be_there_unread(tmp_path):
    file = tmp_path / "model.safetensors"
    tiny_model.write_safetensors(file, {"a": np.ones(8, np.float32), "b": np.ones(2, np.float32)})
    header, data = bad_safetensors.split(file.read_bytes())
    header["b"] |= {"dtype": "I64", "shape": [1]}
    header["a"] |= {"dtype": "F4", "shape": [64]}
    file.write_bytes(bad_safetensors.join(json.dumps(header).encode(), data))
    with Checkpoint(tmp_path) as ckpt:
        assert ckpt.shape("b") == (1,)
        with pytest.raises(LoadError, match=r'"b".*"I64".*F32, F16, BF16'):
            ckpt.tensor("b")
        with pytest.raises(LoadError, match='"F4"'):
            ckpt.tensor("a")


def test_empty_tensors_take_no_place(tmp_path):
    file = tmp_path / "model.safetensors"
    tiny_model.write_safetensors(
        file, {"a": np.ones((0, 4)), "b": np.ones(2), "c": np.ones((2, 0))}
    )
    with Checkpoint(tmp_path) as ckpt:
        assert ckpt.tensor("a").shape == (0, 4)
        assert ckpt.tensor("c").data.size == 0


def test_shape_message(tmp_path):
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5)
    with Checkpoint(tmp_path) as ckpt, pytest.raises(LoadError) as caught:
        ckpt.tensor(good_directory.NORM, (17,))
    for words in ("model.safetensors", good_directory.NORM, "[16]", "[17]"):
        assert words in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path):
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5)
    (tmp_path / "model.safetensors").chmod(0)
    with pytest.raises(LoadError, match="Permission denied"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("path", ["gone", "model.safetensors", "model.safetensors/x", "a\0b"])
def test_not_a_directory(tmp_path, path):
    tiny_model.write_model(tmp_path, good_directory.CONFIG, seed=5)
    with pytest.raises(LoadError, match="director"):
        Checkpoint(tmp_path / path)


@pytest.mark.parametrize("name", WEIGHT_CASES)
def test_bad_directory(tmp_path, name):
    spoil, words = WEIGHT_CASES[name]
    spoil_directory = good_directory.write_good(tmp_path)
    spoil(spoil_directory)
    with pytest.raises(LoadError) as caught, Checkpoint(tmp_path) as ckpt:
        for tensor, shape in SHAPES.items():
            ckpt.tensor(tensor, shape)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message) < 1500
    assert "\n" not in message


def test_random_damage(tmp_path, rng):
    """Whatever happens to the bytes: a LoadError, or every tensor of the right size inside them."""
    refused = 0
    file = good_directory.write_good(tmp_path) / good_directory.FILE
    good = file.read_bytes()
    for name, (spoil, _) in corpus.random_cases(rng, 600).items():
        if not name.endswith(good_directory.FILE):
            continue
        file.write_bytes(good)
        spoil(tmp_path)
        try:
            with Checkpoint(tmp_path) as ckpt:
                for tensor, shape in SHAPES.items():
                    view = ckpt.tensor(tensor, shape)
                    assert view.data.size == 4 * np.prod(shape), name
        except LoadError:
            refused += 1
    assert refused > 50


def test_files_are_mapped_and_not_read(tmp_path):
    """A file far larger than memory opens: it is nearly all hole."""
    size = 1 << 36
    header = {"big": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    file = tmp_path / "model.safetensors"
    file.write_bytes(bad_safetensors.join(json.dumps(header).encode(), b""))
    try:
        os.truncate(file, file.stat().st_size + size)
    except OSError as e:
        pytest.skip(f"no sparse files here: {e}")
    with Checkpoint(tmp_path) as ckpt:
        view = ckpt.tensor("big", (size // 4,))
        assert view.data.size == size
        assert view.data[-1] == 0
