"""LoRA adapters against PEFT, and what a load with them is called afterwards."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genfast
import golden_cases
import tiny_model
import tolerance
from adapter_cases import CASES, AdapterCase

CLOSE = 1e-4


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture
def golden(case: AdapterCase):
    with np.load(case.file) as file:
        found = dict(file)
    found |= {name: json.loads(str(found[name])) for name in ("configs", "shapes")}
    fresh = found["checksum"] == case.checksum(found["configs"], found["shapes"])
    assert fresh, "stale: run tools/make_adapter_goldens.py"
    return found


@pytest.fixture
def base(case, tmp_path):
    return case.write_base(tmp_path / "base")


@pytest.fixture
def paths(case, golden, tmp_path):
    return case.write_adapters(tmp_path, golden["configs"], golden["shapes"])


def logits(path, ids, **options):
    options = {"dtype": "float32", "kv_dtype": "float32"} | options
    with genfast.load(path, **options) as model:
        return model.logits(ids.tolist())


def test_like_peft(base, paths, golden):
    ids = golden["ids"]
    got = logits(base, ids, adapters=paths)
    assert tolerance.relative_distance(got, golden["logits"]).max() <= CLOSE
    got = logits(base, ids)
    assert tolerance.relative_distance(got, golden["plain"]).max() <= CLOSE


@pytest.mark.parametrize("case", CASES[:1])
@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_merged_before_they_are_quantised(base, paths, golden, quantize):
    """Off by what rounding does, as without adapters, and not by a rounding of its own."""
    ids = golden["ids"]
    apart = [
        np.median(tolerance.relative_distance(logits(base, ids, quantize=quantize, **more), exact))
        for more, exact in (({"adapters": paths}, golden["logits"]), ({}, golden["plain"]))
    ]
    assert apart[0] <= 3 * apart[1]
    assert apart[0] < 0.2


@pytest.mark.parametrize("case", CASES[:1])
def test_packed_weights_are_kept_apart(base, paths, golden, tmp_path):
    options = {"quantize": "int8", "cache_dir": tmp_path / "cache"}
    seen = {}
    for adapters in ([], paths):
        for _ in range(2):  # packed, and from the cache
            bits = logits(base, golden["ids"], adapters=adapters, **options).tobytes()
            seen.setdefault(len(adapters), set()).add(bits)
    assert len(seen[0]) == len(seen[1]) == 1
    assert seen[0] != seen[1]
    assert len(list((tmp_path / "cache").glob("*.genfast"))) == 2


@pytest.mark.parametrize("case", CASES[2:3])
def test_receipts_name_them(base, paths, tmp_path):
    with genfast.load(base, adapters=paths) as model:
        receipt = model.generate([1, 2, 3], max_tokens=4, ignore_eos=True).receipt
    assert receipt.settings["adapters"] == [str(path) for path in paths]
    again = genfast.replay(receipt, base)
    assert (again.first_difference, again.differences) == (None, [])
    config = json.loads((paths[1] / "adapter_config.json").read_text())
    (paths[1] / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 400}))
    changed = genfast.replay(receipt, base)
    assert changed.first_difference is not None
    assert any("adapters[1] adapter_config.json" in line for line in changed.differences)


def spoiled(path, **changes):
    file = path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize("case", CASES[:1])
@pytest.mark.parametrize(
    "changes, match",
    [
        ({"use_dora": True}, r"adapter_config.json.*use_dora.*true.*cannot be merged"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"peft_type": "IA3"}, "peft_type.*IA3.*LORA"),
        ({"r": 5}, r"found rank 4, expected 5"),
        ({"r": 0}, r"adapter_config.json.*r: found 0"),
        ({"target_modules": ["k_proj"]}, "target_modules does not name"),
        ({"target_modules": 7}, "target_modules.*a list of names"),
        ({"rank_pattern": {"q_proj": -1}}, "rank_pattern.*positive"),
    ],
    ids=str,
)
def test_what_cannot_be_merged_is_named(base, paths, changes, match):
    spoiled(paths[0], **changes)
    with pytest.raises(genfast.LoadError, match=match):
        genfast.load(base, adapters=paths)


@pytest.mark.parametrize("case", CASES[:1])
@pytest.mark.parametrize(
    "old, new, match",
    [
        ("layers.0.self_attn.q_proj", "layers.7.self_attn.q_proj", r"layers\.7.*has not"),
        ("lora_A.weight", "lora_magnitude_vector", "not lora_A.weight or lora_B.weight"),
        ("base_model.model.", "", "begins with base_model.model."),
    ],
)
def test_tensors_that_do_not_fit_are_named(case, base, golden, tmp_path, old, new, match):
    shapes = [{n.replace(old, new): s for n, s in golden["shapes"][0].items()}]
    paths = case.write_adapters(tmp_path / "bad", golden["configs"], shapes)
    with pytest.raises(genfast.LoadError, match=match):
        genfast.load(base, adapters=paths)


@pytest.mark.parametrize("case", CASES[:1])
def test_files_that_are_not_there_are_named(base, paths):
    (paths[0] / "adapter_model.safetensors").rename(paths[0] / "adapter_model.bin")
    with pytest.raises(
        genfast.LoadError, match=r"adapter_model\.bin: expected adapter_model\.safe"
    ):
        genfast.load(base, adapters=paths)
    with pytest.raises(ValueError, match=r"adapters\[0\]='nowhere' is not a directory"):
        genfast.load(base, adapters=["nowhere"])
    with pytest.raises(ValueError, match="adapters='x' is not allowed"):
        genfast.load(base, adapters="x")


@pytest.mark.parametrize("case", CASES[:1])
def test_two_that_replace_the_same_are_refused(case, base, golden, tmp_path):
    config = {**golden["configs"][0], "modules_to_save": ["lm_head"]}
    shape = {"base_model.model.lm_head.weight": [64, 32]}
    paths = case.write_adapters(tmp_path / "two", [config] * 2, [shape] * 2)
    with pytest.raises(genfast.LoadError, match=r"both say what lm_head\.weight is"):
        genfast.load(base, adapters=paths)
    tensors = tiny_model.uniform(0, "x", (64, 32))
    file = paths[0] / "adapter_model.safetensors"
    tiny_model.write_safetensors(file, {"base_model.model.lm_head.weight": tensors[:32]})
    with pytest.raises(genfast.LoadError, match=r"found shape \[32, 32\], expected \[64, 32\]"):
        genfast.load(base, adapters=paths[:1])


@pytest.mark.parametrize("case", CASES[3:4])
def test_a_base_saved_from_the_bare_model(base, paths, golden, tmp_path):
    """Whose tensors lack the first part of their names: the same weights otherwise."""
    bare = golden_cases.CASES["gpt2-old-layout"].write(tmp_path / "bare")
    ids = golden["ids"]
    assert (
        logits(bare, ids, adapters=paths).tobytes() == logits(base, ids, adapters=paths).tobytes()
    )
