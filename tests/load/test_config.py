"""Typed fields with bounds, the registry of models, and every real config there is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from genfast import models
from genfast.config import Fields, read_config, read_json
from genfast.errors import LoadError

CONFIGS = Path(__file__).resolve().parents[3] / "shared/data/configs"


def fields(**values: object) -> Fields:
    return Fields(values, "here/config.json")


@pytest.mark.parametrize("value", [0, 11, -1, 2**70, 5.0, "5", True, [], {}, math.nan])
def test_int_refuses(value):
    with pytest.raises(LoadError) as caught:
        fields(size=value).int("size", 1, 10)
    for words in ("here/config.json", "size", "an integer from 1 to 10"):
        assert words in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, 2, 10**400, "1", True, [], math.nan, math.inf, -math.inf])
def test_number_refuses(value):
    with pytest.raises(LoadError, match=r"eps: found .*, expected a number from 0 to 1"):
        fields(eps=value).number("eps", 0, 1)


@pytest.mark.parametrize("value", [0, 1, "true", [], {}])
def test_bool_refuses(value):
    with pytest.raises(LoadError, match=r"tied: found .*, expected true or false"):
        fields(tied=value).bool("tied")


@pytest.mark.parametrize("value", ["tanh", "", 3, [], {}, ["silu"]])
def test_choice_refuses(value):
    with pytest.raises(LoadError, match=r"act: found .*, expected one of silu, gelu"):
        fields(act=value).str_choice("act", ["silu", "gelu"])


@pytest.mark.parametrize("value", [-1, "1", 1.5, True, [1, -1], [[1]], [None], list(range(9))])
def test_ints_refuses(value):
    with pytest.raises(LoadError, match="a list of up to 8 of them"):
        fields(eos=value).ints("eos", 0, 100, most=8)


@pytest.mark.parametrize("value", [1.0, [1.0], [1.0, math.nan], [1.0, "2"], [1.0, True]])
def test_numbers_refuses(value):
    with pytest.raises(LoadError, match="a list of 2 numbers"):
        fields(factors=value).numbers("factors", 0, 9, count=2)


@pytest.mark.parametrize("value", [1, "x", [], True])
def test_object_refuses(value):
    with pytest.raises(LoadError, match="rope: found"):
        fields(rope=value).object("rope")


def test_what_is_taken():
    cfg = fields(n=3, eps=1, tied=False, act="gelu", eos=[1, 2], one=7, f=[1, 2.5])
    assert cfg.int("n", 1, 3) == 3
    assert type(cfg.number("eps", 0, 1)) is float
    assert cfg.bool("tied") is False
    assert cfg.str_choice("act", {"silu": 1, "gelu": 2}) == "gelu"
    assert cfg.ints("eos", 0, 9) == (1, 2)
    assert cfg.ints("one", 0, 9) == (7,)
    assert cfg.numbers("f", 0, 9, count=2) == (1.0, 2.5)


def test_absent_and_null():
    cfg = fields(n=None)
    assert cfg.int("n", 1, 3, default=2) == 2
    assert cfg.int("m", 1, 3, default=None) is None
    assert "n" not in cfg
    with pytest.raises(LoadError, match="n: found null"):
        cfg.int("n", 1, 3)
    with pytest.raises(LoadError, match="m: found nothing"):
        cfg.int("m", 1, 3)


def test_alias():
    cfg = fields(n_embd=8, hidden=None)
    assert cfg.int("hidden", 1, 9, alias=("dim", "n_embd")) == 8
    with pytest.raises(LoadError, match="n_embd: found 8"):
        cfg.int("hidden", 1, 4, alias="n_embd")


def test_nested_names():
    cfg = fields(rope={"inner": {"factor": -1}})
    with pytest.raises(LoadError, match=r"rope\.inner\.factor: found -1"):
        cfg.object("rope").object("inner").number("factor", 0, 1)


def test_long_values_are_cut():
    with pytest.raises(LoadError) as caught:
        fields(n="x" * 10_000).int("n", 0, 1)
    assert len(str(caught.value)) < 300


def test_byte_order_mark_is_forgiven(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


def test_too_large(tmp_path):
    (tmp_path / "a.json").write_bytes(b" " * 101)
    with pytest.raises(LoadError, match="101 bytes"):
        read_json(tmp_path / "a.json", max_bytes=100)


def test_no_directory(tmp_path):
    with pytest.raises(LoadError, match="no such directory"):
        read_config(tmp_path / "gone")


def test_a_pipeline_is_named(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(LoadError, match="diffusers"):
        read_config(tmp_path)


@pytest.mark.parametrize("name", ["os", "", "__init__", "llama.os", "..", "x" * 999])
def test_only_listed_models_are_imported(name):
    with pytest.raises(LoadError, match=r"supported are .*llama"):
        models.find(name)


def real_configs() -> list[Path]:
    return sorted(CONFIGS.rglob("config.json")) + sorted(CONFIGS.glob("recent/*_config.json"))


@pytest.mark.skipif(not CONFIGS.is_dir(), reason=f"no {CONFIGS}")
def test_real_configs():
    """Of a supported model_type: accepted. Of any other: refused by its name."""
    accepted, refused = [], []
    for path in real_configs():
        config = json.loads(path.read_text())
        if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
            continue
        if config["model_type"] in models.supported():
            module = models.find(config["model_type"], path)
            module.Config.from_json(Fields(config, path))
            accepted.append(path)
        else:
            with pytest.raises(LoadError, match="is not supported"):
                models.find(config["model_type"], path)
            refused.append(path)
    assert len(accepted) >= 5
    assert len(refused) >= 50
