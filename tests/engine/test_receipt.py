"""Receipts replay, bit by bit; a change is named. Files of keys and values know their model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

import genfast
from cutting import cut_short
from genfast.checkpoint import Checkpoint

OPTIONS = {
    "max_tokens": 20,
    "temperature": 0.9,
    "top_p": 0.95,
    "seed": 4,
    "repetition_penalty": 1.1,
    "logit_bias": {3: 1.5},
    "stop_token_ids": [5],
}


@pytest.fixture
def receipt(tiny, prompt):
    return tiny.generate(prompt, n=2, **OPTIONS).choices[1].receipt


def flip_bit(directory, name, bit):
    """One bit of a tensor's bytes in model.safetensors."""
    with Checkpoint(directory) as checkpoint:
        view = checkpoint.tensor(name)
        inside = view.data.ctypes.data - checkpoint._maps[view.file][1].ctypes.data
        file = view.file
    data = bytearray(file.read_bytes())
    data[inside + bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def test_it_replays(tiny_dir, receipt, tmp_path):
    receipt.save(tmp_path / "receipt.json")
    again = genfast.Receipt.load(tmp_path / "receipt.json")
    assert again == receipt
    for threads in (1, 3):
        replay = genfast.replay(again, tiny_dir, threads=threads)
        assert replay == genfast.Replay(len(receipt.token_ids), None, [])


def test_the_same_request_in_a_batch_has_the_same_digests(tiny, prompts, prompt, receipt):
    runs = tiny.generate([*prompts, prompt], n=2, **OPTIONS)
    assert runs[-1].choices[1].receipt == receipt
    assert runs[0].receipt.digests != receipt.digests


@pytest.mark.parametrize(
    "name", ["model.layers.1.mlp.down_proj.weight", "model.norm.weight", "lm_head.weight"]
)
def test_one_flipped_weight_bit_is_named(tiny_dir, receipt, tmp_path, name):
    other = shutil.copytree(tiny_dir, tmp_path / "other")
    flip_bit(other, name, bit=8 * 4 * 7 + 20)  # a middling bit of the mantissa of number 7
    replay = genfast.replay(receipt, other)
    (difference,) = replay.differences
    assert name in difference and receipt.tensors[name] in difference
    assert replay.first_difference == 0


def test_other_settings_and_texts_are_named(tiny_dir, receipt, tmp_path):
    other = shutil.copytree(tiny_dir, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 2e-3}))
    replay = genfast.replay(receipt, other)
    assert replay.differences == ["config: not the same (by SHA-256)"]
    assert replay.first_difference == 0
    wide = genfast.replay(receipt, tiny_dir, kv_dtype="bfloat16")
    assert wide.differences == [] and wide.first_difference is not None


def test_an_unfinished_one_replays_as_far_as_it_came(tiny, tiny_dir, prompt):
    out = cut_short(tiny, prompt)
    assert out.token_ids
    assert genfast.replay(out.receipt, tiny_dir).first_difference is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 3}', '{"format": 2, "prompt": "x"}', "\0"]
)
def test_a_broken_receipt_is_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(genfast.LoadError, match=r"r\.json"):
        genfast.Receipt.load(tmp_path / "r.json")


# ---- files of keys and values -------------------------------------------------------------------


@pytest.mark.parametrize("kv_dtype", ["float32", "bfloat16", "int8", "fp8"])
def test_keys_and_values_come_back_from_a_file(tiny_dir, rng, tmp_path, kv_dtype):
    ids = rng.integers(0, 97, 200).tolist()
    with genfast.load(tiny_dir, kv_dtype=kv_dtype) as model:
        assert model.save_kv(ids, tmp_path / "kv") == 192
        expected = model.generate(ids, logprobs=2, max_tokens=10)
    with genfast.load(tiny_dir, kv_dtype=kv_dtype) as model:
        assert model.load_kv(tmp_path / "kv") == 192
        out = model.generate(ids, logprobs=2, max_tokens=10)
        assert out.usage.cached_tokens == 192
        assert (out.token_ids, out.logprobs) == (expected.token_ids, expected.logprobs)
    assert [p.name for p in tmp_path.iterdir()] == ["kv"]


def test_a_file_of_another_model_is_refused(tiny, tiny_dir, prompts, tmp_path):
    tiny.save_kv(prompts[-1], tmp_path / "kv")
    with (
        genfast.load(tiny_dir, quantize="int8") as model,
        pytest.raises(genfast.LoadError, match="settings"),
    ):
        model.load_kv(tmp_path / "kv")
    other = shutil.copytree(tiny_dir, tmp_path / "other")
    flip_bit(other, "model.norm.weight", bit=3)
    with genfast.load(other) as model, pytest.raises(genfast.LoadError, match="weights"):
        model.load_kv(tmp_path / "kv")


def test_a_broken_file_is_refused(tiny, prompts, tmp_path, rng):
    file = tmp_path / "kv"
    tiny.save_kv(prompts[-1], file)
    good = file.read_bytes()
    with pytest.raises(genfast.LoadError, match="absent"):
        tiny.load_kv(tmp_path / "absent")
    header = 8 + int.from_bytes(good[:8], "little")
    for _ in range(40):
        data = bytearray(good)
        if rng.random() < 0.3:
            del data[int(rng.integers(0, len(data))) :]
        else:
            at = int(rng.integers(0, header))
            data[at] = int(rng.choice(np.setdiff1d(np.arange(256), data[at])))
        file.write_bytes(data)
        try:
            tiny.load_kv(file)
        except genfast.LoadError as error:
            assert str(file) in str(error)
