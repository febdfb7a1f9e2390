"""Real config.json files: those of supported families are understood, with the parameters their
makers tell; others are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from genfast import models
from genfast.errors import LoadError
from genfast.sizing import sizes_of

CONFIGS = Path(__file__).resolve().parents[3] / "shared/data/configs"
FILES = sorted([*CONFIGS.glob("hf/*/config.json"), *CONFIGS.glob("recent/*_config.json")])
# In billions, from the model cards: in all, and where it differs those that a token visits.
PUBLISHED = {
    "hf/mistral-7b/config.json": (7.24, None),
    "hf/gpt-j-6b/config.json": (6.05, None),
    "hf/phi-3-mini/config.json": (3.82, None),
    "hf/gpt2-xl/config.json": (1.56, None),
    "hf/wizardcoder-15b-gpt_bigcode/config.json": (15.5, None),
    "hf/mixtral-8x7b-dolphin/config.json": (46.7, 12.9),
    "recent/meta-llama--Meta-Llama-3.1-405B_config.json": (405, None),
    "recent/Qwen--Qwen3-8B_config.json": (8.19, None),
    "recent/Qwen--Qwen3-30B-A3B_config.json": (30.5, 3.3),
    "recent/Qwen--Qwen3-235B-A22B_config.json": (235, 22),
    # Their card (arXiv 2508.10925) does not count the embedding table among the active.
    "recent/openai--gpt-oss-20b_config.json": (20.9, 3.61 + 0.58),
    "recent/openai--gpt-oss-120b_config.json": (116.8, 5.13 + 0.58),
    "recent/mistralai--Mixtral-8x22B-v0.1_config.json": (141, 39),
}


@pytest.mark.skipif(not FILES, reason="../shared/data/configs is not there")
def test_each_is_understood_or_refused_by_name():
    understood = 0
    for file in FILES:
        config = json.loads(file.read_text())
        if config.get("model_type") in models.supported():
            assert sizes_of(config, file).parameters > 1e7, file
            understood += 1
        elif "model_type" in config:
            with pytest.raises(LoadError) as refused:
                sizes_of(config, file)
            assert str(file) in str(refused.value)
            assert repr(config["model_type"]) in str(refused.value)
    assert understood >= 25


@pytest.mark.skipif(not FILES, reason="../shared/data/configs is not there")
@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_published(name):
    in_all, active = PUBLISHED[name]
    sizes = sizes_of(json.loads((CONFIGS / name).read_text()), name)
    assert sizes.parameters / 1e9 == pytest.approx(in_all, rel=0.005)
    assert sizes.active_parameters / 1e9 == pytest.approx(active or in_all, rel=0.02)
