"""The packed cache: the same bits with it as without, whatever happened to its files."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import genfast
import tiny_model
from genfast import _core, weights_digest
from good_directory import CONFIG

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
FORMATS = [
    {"dtype": "float32"},
    {"dtype": "bfloat16"},
    {"quantize": "int8"},
    {"quantize": "int4"},
    {"quantize": "fp8"},
]
MARGIN = 48 << 20  # what a load may hold besides weights: see test_peak_memory


def write(directory: Path, **changes) -> Path:
    return tiny_model.write_model(directory, {**CONFIG, **changes}, seed=3)


@pytest.fixture
def model(tmp_path):
    return write(tmp_path / "model")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def logits(directory, cache_dir=None, **options) -> bytes:
    with genfast.load(
        directory, cache_dir=cache_dir, threads=2, kv_cache_bytes=1 << 22, **options
    ) as opened:
        return opened.logits(TOKENS).tobytes()


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.genfast"))


@pytest.fixture
def packs(monkeypatch):
    """A list that grows with every matrix packed."""
    counted: list[str] = []
    weight = _core.Weight

    class Counting:
        panels, rows = weight.panels, weight.rows

        def __new__(cls, *args, **options):
            counted.append(args[0])
            return weight(*args, **options)

    monkeypatch.setattr(_core, "Weight", Counting)
    return counted


@pytest.mark.parametrize("options", FORMATS, ids=lambda o: next(iter(o.values())))
@pytest.mark.parametrize("tied", [False, True])
def test_the_same_bits_missed_hit_and_without(tmp_path, cache, packs, options, tied):
    directory = write(tmp_path / "model", tie_word_embeddings=tied)
    want = logits(directory, **options)
    without = len(packs)
    assert logits(directory, cache, **options) == want
    assert len(packs) == 2 * without
    assert logits(directory, cache, **options) == want
    assert len(packs) == 2 * without, "a hit packs nothing"
    assert len(files(cache)) == 1


def test_gpt2_transposed_matrices(tmp_path, cache, packs):
    config = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 32}
    directory = tiny_model.write_model(tmp_path / "m", {**config, "n_positions": 64}, seed=5)
    want = logits(directory, quantize="int8")
    assert logits(directory, cache, quantize="int8") == want
    before = len(packs)
    assert logits(directory, cache, quantize="int8") == want and len(packs) == before


def test_what_makes_a_file_of_its_own(tmp_path, model, cache, monkeypatch):
    logits(model, cache)
    first = files(cache)
    logits(write(tmp_path / "copy"), cache)
    assert files(cache) == first, "the same weights elsewhere share it"
    logits(model, cache, quantize="int8")
    assert len(files(cache)) == 2
    monkeypatch.setattr(_core, "LAYOUT_VERSION", _core.LAYOUT_VERSION + 1)
    logits(model, cache)
    assert len(files(cache)) == 3


@pytest.mark.parametrize("remembered", [False, True])
def test_a_changed_weight_is_seen(model, cache, monkeypatch, remembered):
    monkeypatch.setattr(weights_digest, "_CLOCK_TICK_NS", -(10**18) if remembered else 10**18)
    old = logits(model, cache)
    assert bool(list(cache.glob("*.digest"))) == remembered
    file = model / "model.safetensors"
    times = os.stat(file)
    with open(file, "r+b") as f:
        f.seek(-3, os.SEEK_END)
        byte = f.read(1)[0]
        f.seek(-3, os.SEEK_END)
        f.write(bytes([byte ^ 0x20]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # the old time of modification
    new = logits(model, cache)
    assert new == logits(model) and new != old
    assert len(files(cache)) == 2


def test_a_remembered_digest_spares_reading(model, cache, monkeypatch):
    monkeypatch.setattr(weights_digest, "_CLOCK_TICK_NS", -(10**18))
    want = logits(model, cache)
    (known,) = cache.glob("*.digest")
    with monkeypatch.context() as patched:
        patched.setattr(weights_digest, "digest", lambda *_: pytest.fail("read again"))
        assert logits(model, cache) == want
    text = known.read_text()
    for damaged in (
        "",
        "x",
        text[:70],
        text.replace(text[5], chr(ord(text[5]) ^ 1), 1),
        "\xff" * 9,
    ):
        known.write_text(damaged, "latin-1")
        assert logits(model, cache) == want and known.read_text() == text
    assert len(files(cache)) == 1


def test_random_damage_is_found_and_mended(model, cache, rng, caplog):
    """Flipped bytes, cuts and growth, at the ends more often than by chance."""
    want = logits(model, cache, quantize="int4")
    (file,) = files(cache)
    good = file.read_bytes()
    for trial in range(60):
        data = bytearray(good)
        kind = ("flip", "cut", "grow", "zero")[rng.integers(4)]
        near_end = rng.random() < 0.5
        at = int(rng.integers(max(0, len(data) - 1500) if near_end else 0, len(data)))
        if kind == "flip":
            data[at] ^= int(rng.integers(1, 256))
        elif kind == "cut":
            del data[at:]
        elif kind == "grow":
            data[at:at] = rng.bytes(int(rng.integers(1, 99)))
        else:
            data[at : at + 64] = bytes(len(data[at : at + 64]))
        if data == good:
            continue
        file.unlink()
        file.write_bytes(data)
        caplog.clear()
        assert logits(model, cache, quantize="int4") == want, (trial, kind, at)
        assert str(file) in caplog.text and "packing the weights again" in caplog.text
        assert file.read_bytes() == good, (trial, kind, at)


def reforged(good: bytes, change) -> bytes:
    """The file with another footer, whose own digest is right."""
    length = int.from_bytes(good[-16:-8], "little")
    end = len(good) - 48
    table = json.loads(good[end - length : end])
    footer = json.dumps(change(table)).encode()
    digest = hashlib.sha256(footer).digest()
    return good[: end - length] + footer + digest + len(footer).to_bytes(8, "little") + good[-8:]


def changed_matrix(**fields):
    def change(table):
        first = next(iter(table["matrices"]))
        table["matrices"][first] |= fields
        return table

    return change


FORGERIES = {
    "layout": lambda t: {**t, "layout": 999},
    "weights": lambda t: {**t, "weights": "0" * 64},
    "no table": lambda t: [],
    "table of another kind": lambda t: {**t, "matrices": [1]},
    "no matrices": lambda t: {**t, "matrices": {}},
    "null matrix": lambda t: {**t, "matrices": dict.fromkeys(t["matrices"])},
    "shape": changed_matrix(shape=[1, 1]),
    "format": changed_matrix(format="int4"),
    "gated": changed_matrix(gated=True),
    "digest": changed_matrix(digest=None),
    "beyond the end": changed_matrix(place=[0, 1 << 60]),
    "backwards": changed_matrix(place=[64, 0]),
    "empty": changed_matrix(place=[0, 0]),
    "unaligned": changed_matrix(place=[1, 65]),
    "not a place": changed_matrix(place="here"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_wrong_table_is_refused(model, cache, caplog, name):
    want = logits(model, cache, quantize="int8")
    (file,) = files(cache)
    good = file.read_bytes()
    file.unlink()
    file.write_bytes(reforged(good, FORGERIES[name]))
    assert logits(model, cache, quantize="int8") == want
    assert "packing the weights again" in caplog.text
    assert file.read_bytes() == good


def test_something_else_of_that_name(model, cache, caplog):
    want = logits(model, cache)
    (file,) = files(cache)
    file.unlink()
    file.mkdir()
    assert logits(model, cache) == want  # neither read nor replaced, and nothing left behind
    assert "packing the weights again" in caplog.text and "cannot be kept" in caplog.text
    assert not list(cache.glob(".*"))


def load_and_report(directory, cache, barrier, answers):
    barrier.wait(30)
    answers.put(logits(directory, cache, quantize="int8"))


def test_processes_at_once(model, cache):
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    workers = [
        context.Process(target=load_and_report, args=(model, cache, barrier, answers))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    got = [answers.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(30)
    assert set(got) == {logits(model, quantize="int8")}
    assert len(files(cache)) == 1 and not list(cache.glob(".*"))
    assert logits(model, cache, quantize="int8") == got[0]


def test_a_directory_that_cannot_be_made(tmp_path, model, caplog):
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "genfast"):
        assert logits(model, tmp_path / "file" / "below") == logits(model)
    assert "cannot be kept" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory(model, cache, caplog):
    cache.mkdir(mode=0o500)
    assert logits(model, cache) == logits(model)
    assert "cannot be kept" in caplog.text and not list(cache.iterdir())


def test_a_full_disk(model, cache, caplog):
    """A limit on the size of files stops the writer half way, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        got = logits(model, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert got == logits(model)
    assert "cannot be kept" in caplog.text and not files(cache) and not list(cache.glob(".*"))


def test_weights_that_cannot_be_quantised_leave_no_file(model, cache):
    tensors = tiny_model.weights(CONFIG, 3)
    tensors["model.layers.1.mlp.up_proj.weight"][5, 5] = np.inf
    tiny_model.write_model(model, CONFIG, 3, tensors=tensors)
    with pytest.raises(genfast.LoadError, match=r"up_proj.*not finite"):
        logits(model, cache, quantize="int8")
    assert not files(cache)


@pytest.mark.parametrize("bad", [3, b"bytes", "", "a\0b", True])
def test_a_wrong_cache_dir(model, bad):
    with pytest.raises(ValueError, match="cache_dir"):
        genfast.load(model, cache_dir=bad)


def test_a_file_as_cache_dir(model):
    with pytest.raises(ValueError, match=r"cache_dir.*not a directory"):
        genfast.load(model, cache_dir=model / "config.json")


def test_digests_tell_bytes_apart(rng):
    """Any one byte, the length, the order of stripes and of chunks, zeros at the end; threads do
    not matter."""
    data = rng.integers(0, 256, (2 << 20) + 77, np.uint8)
    changed = [data, data[:-1], np.append(data, np.uint8(0)), np.roll(data, 64)]
    changed += [np.roll(data, 1 << 20), np.zeros(64, np.uint8), np.zeros(128, np.uint8)]
    for at in (0, 15, 63, 1 << 20, data.size - 1, *rng.integers(0, data.size, 50).tolist()):
        other = data.copy()
        other[at] ^= 1 << rng.integers(8)
        changed.append(other)
    assert len({weights_digest.digest(each) for each in changed}) == len(changed)
    assert len({_core.checksum(data, threads) for threads in (1, 2, 3)}) == 1
    assert _core.checksum(data[:0]) == b""


PEAK = """
import sys, genfast
def peak(): return next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if "VmHWM" in l)
base = peak()
m = genfast.load(sys.argv[1], quantize=sys.argv[2] or None, cache_dir=sys.argv[3] or None,
                 kv_cache_bytes=1 << 20, threads=2)
print(peak() - base, m.weight_bytes)
"""


@pytest.mark.parametrize("quantize", ["", "int8", "int4"])
def test_peak_memory(tmp_path, cache, quantize):
    """Packed weights, a tenth, the KV cache, and what a load takes whatever the model's size: the
    step of the file that is being packed (32 MiB), threads, tokenizer and scratch. The file itself,
    or a huge page for each matrix's last bytes, would be more than that."""
    directory = write(
        tmp_path / "big",
        hidden_size=512,
        intermediate_size=1408,
        num_hidden_layers=8,
        num_attention_heads=8,
        head_dim=64,
        num_key_value_heads=4,
        vocab_size=12000,
        tie_word_embeddings=True,
    )
    for cache_dir in ("", cache, cache):
        out = subprocess.run(
            [sys.executable, "-c", PEAK, directory, quantize, cache_dir],
            capture_output=True,
            text=True,
            check=True,
        )
        grown, packed = map(int, out.stdout.split())
        assert grown < packed * 1.1 + (1 << 20) + MARGIN, (cache_dir, grown, packed)
