"""The frequencies of genfast.rope against transformers' (tests/goldens/rope.json)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from genfast import LoadError, ops
from genfast.config import Fields
from genfast.rope import rope_frequencies, rope_from_config

GOLDENS = json.loads((Path(__file__).parents[1] / "goldens/rope.json").read_text())
EPS32 = float(np.finfo(np.float32).eps)
YARN = {"rope_type": "yarn", "factor": 4}
LLAMA3 = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}


def name(golden: dict) -> str:
    scaling = golden["config"].get("rope_scaling", golden["config"].get("rope_parameters", {}))
    return scaling.get("rope_type", scaling.get("type", "default"))


@pytest.mark.parametrize("golden", GOLDENS, ids=map(name, GOLDENS))
def test_same_frequencies_as_transformers(golden):
    config = golden["config"]
    limit = config.get("max_position_embeddings", 2048)
    rope = rope_from_config(Fields(config, "config.json"), config["head_dim"], limit)
    for answer in golden["answers"]:
        expected = np.array(answer["inv_freq"], np.float32)
        assert rope.scale == pytest.approx(answer["scale"], rel=1e-15)
        assert rope.inv_freq.dtype == np.float32 and rope.rotated == 2 * len(expected)
        if answer["length"] is None or answer["length"] <= limit:
            # The same float32 operations; a power may be rounded differently by an ulp, and the
            # ramp of yarn multiplies that by at most two more roundings.
            np.testing.assert_allclose(rope.inv_freq, expected, rtol=4 * EPS32)
        if answer["length"] is not None:
            assert rope.dynamic is not None
            table = ops.rope_table([answer["length"] - 1], rope.inv_freq, dynamic=rope.dynamic)
            angle = (np.float32(answer["length"] - 1) * expected).astype(np.float64)
            # 4 roundings of a frequency, and those of the product and the result
            bound = angle * 6 * EPS32 + EPS32
            half = len(expected)
            assert (np.abs(table[0, :half] - np.cos(angle)) <= bound).all()
            assert (np.abs(table[0, half:] - np.sin(angle)) <= bound).all()
            # Where the scaling sets in, the frequencies must differ from the plain ones.
            if answer["length"] > limit:
                plain = ops.rope_table([answer["length"] - 1], rope.inv_freq)
                assert not np.allclose(plain, table, rtol=0, atol=bound.max())


def test_dictionary_form_and_config_form_agree():
    scaling = {"rope_type": "linear", "factor": 2.0}
    a = rope_frequencies(64, 500.0, scaling, 2048)
    config = {"rope_theta": 500.0, "rope_scaling": scaling}
    b = rope_from_config(Fields(config, "config.json"), 64, 2048)
    assert a.inv_freq.tobytes() == b.inv_freq.tobytes()
    assert rope_frequencies(64, 1e4, None, 2048).inv_freq[0] == 1


def test_partial_factor_and_layer_types():
    config = {"partial_rotary_factor": 0.25, "rope_theta": 10000.0}
    assert rope_from_config(Fields(config, "config.json"), 80, 2048).rotated == 20
    nested = {
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        }
    }
    cfg = Fields(nested, "config.json")
    full = rope_from_config(cfg, 64, 2048, layer_type="full_attention")
    sliding = rope_from_config(cfg, 64, 2048, layer_type="sliding_attention")
    assert full.inv_freq[0] == np.float32(1 / 8) and sliding.inv_freq[0] == 1
    with pytest.raises(LoadError, match="full_attention"):
        rope_from_config(cfg, 64, 2048)


@pytest.mark.parametrize(
    "scaling, message",
    [
        ({"rope_type": "longest"}, r"rope_type.*default, linear, dynamic, yarn, llama3"),
        ({"type": "su", "factor": 2}, r"type: found \"su\".*linear"),
        ({"rope_type": "linear"}, r"factor: found nothing"),
        ({"rope_type": "linear", "factor": 0.5}, r"factor: found 0.5, expected a number from 1"),
        ({"rope_type": "linear", "factor": float("nan")}, r"factor: found NaN"),
        ({"rope_type": "dynamic", "factor": "4"}, r'factor: found "4"'),
        ({**YARN, "beta_fast": -1}, r"beta_fast"),
        ({**YARN, "rope_theta": 1}, r"rope_theta"),
        ({**YARN, "original_max_position_embeddings": 0}, r"original_max"),
        ({**LLAMA3, "high_freq_factor": 1}, r"high_freq_factor.*low_freq_factor"),
        ({**LLAMA3, "low_freq_factor": None}, r"low_freq_factor"),
        ({"rope_theta": 0.0}, r"rope_theta"),
        ({"partial_rotary_factor": 0.001}, r"partial_rotary_factor.*head_dim = 64"),
        ({"rope_type": "dynamic", "factor": 2, "partial_rotary_factor": 0.04}, r"rope_type"),
    ],
)
def test_bad_scalings_are_load_errors_that_name_the_field(scaling, message):
    with pytest.raises(LoadError, match=message):
        rope_frequencies(64, 10000.0, scaling, 2048)
