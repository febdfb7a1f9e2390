"""Every keyword: what it takes, what it refuses and in what words."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math

import numpy as np
import pytest

from genfast.errors import LoadError
from genfast.sampling import DEFAULT_MAX_TOKENS, Sampling


def make(defaults=None, **overrides):
    return Sampling.make(defaults, overrides)


def test_without_anything_it_is_greedy():
    made = make()
    assert made == Sampling()
    assert made.greedy and made.max_tokens == DEFAULT_MAX_TOKENS == 128
    assert (made.top_k, made.top_p, made.min_p, made.seed) == (0, 1.0, 0.0, None)


GOOD = [
    ("max_tokens", 1, 1),
    ("max_tokens", np.int64(7), 7),
    ("temperature", 0, 0.0),
    ("temperature", 1e-9, 0.0),
    ("temperature", np.float32(0.5), 0.5),
    ("temperature", 2, 2.0),
    ("top_k", 0, 0),
    ("top_k", -1, 0),
    ("top_k", 40, 40),
    ("top_p", 1, 1.0),
    ("top_p", 0.001, 0.001),
    ("min_p", 0, 0.0),
    ("min_p", 1, 1.0),
    ("seed", 0, 0),
    ("seed", 2**64 - 1, 2**64 - 1),
    ("seed", np.uint64(2**64 - 1), 2**64 - 1),
    ("stop", "x", ("x",)),
    ("stop", ["x", "yy", "x"], ("x", "yy")),
    ("stop", [], ()),
    ("stop_token_ids", [3, np.int32(4)], (3, 4)),
    ("ignore_eos", True, True),
    ("ignore_eos", np.bool_(True), True),
    ("min_tokens", 5, 5),
    ("repetition_penalty", 1.3, 1.3),
    ("presence_penalty", -2, -2.0),
    ("frequency_penalty", 2, 2.0),
    ("logit_bias", {5: -100, np.int64(6): np.float16(0.5)}, {5: -100.0, 6: 0.5}),
    ("top_n_sigma", 1, 1.0),
    ("typical_p", 0.5, 0.5),
    ("xtc_probability", 0, 0.0),
    ("xtc_threshold", 0.5, 0.5),
    ("mirostat_tau", 0, 0.0),
    ("mirostat_eta", 0.2, 0.2),
    ("dry_multiplier", 0.8, 0.8),
    ("dry_base", 1, 1.0),
    ("dry_allowed_length", 3, 3),
    ("dry_sequence_breakers", ["\n", 7, "\n"], ("\n", 7)),
    ("dry_sequence_breakers", (), ()),
    ("no_repeat_ngram_size", np.int64(3), 3),
    ("bad_words_ids", [[1, 2], (3,), [1, 2]], ((1, 2), (3,))),
    ("suppress_tokens", [4, 4, 5], (4, 5)),
    ("begin_suppress_tokens", [], ()),
    ("forced_tokens", [(0, 5), [3, np.int32(6)], (0, 5)], ((0, 5), (3, 6))),
    ("forced_bos_token_id", 4, 4),
    ("forced_eos_token_id", 4, (4,)),
    ("forced_eos_token_id", [4, 5], (4, 5)),
    ("abstain_below", 1, 1.0),
    ("n", 3, 3),
    ("num_beams", 4, 4),
    ("early_stopping", np.bool_(False), False),
    ("num_beam_groups", 1, 1),
    ("logprobs", 0, 0),
    ("logprobs", 20, 20),
]


@pytest.mark.parametrize(("name", "value", "expected"), GOOD)
def test_good_values(name, value, expected):
    found = getattr(make(**{name: value}), name)
    assert found == expected and type(found) is type(expected)


NUMBERS = ["temperature", "top_p", "min_p", "repetition_penalty"]
NUMBERS += ["presence_penalty", "frequency_penalty"]
INTS = ["max_tokens", "top_k", "seed", "min_tokens", "n", "logprobs"]
BAD = [
    *((name, value) for name in NUMBERS for value in (math.nan, math.inf, -math.inf)),
    *((name, value) for name in NUMBERS for value in ("0.5", True, [0.5], 1j, np.ones(1), -3)),
    *((name, value) for name in INTS for value in (1.0, "1", True, np.bool_(True), [1], -2)),
    ("temperature", 101),
    ("temperature", 10**400),
    ("max_tokens", 0),
    ("max_tokens", 2**31),
    ("n", 0),
    ("n", 10**6),
    ("logprobs", 101),
    ("seed", 2**64),
    ("top_p", 0),
    ("top_p", 1.0001),
    ("min_p", 1.5),
    ("repetition_penalty", 0),
    ("presence_penalty", 2.5),
    ("stop", ""),
    ("stop", ["a", ""]),
    ("stop", [3]),
    ("stop", 3),
    ("stop", b"x"),
    ("stop", {"a": 1}),
    ("stop_token_ids", 3),
    ("stop_token_ids", "3"),
    ("stop_token_ids", [True]),
    ("stop_token_ids", [-1]),
    ("ignore_eos", 1),
    ("ignore_eos", "yes"),
    ("top_n_sigma", -1),
    ("typical_p", 0),
    ("xtc_probability", 1.5),
    ("xtc_threshold", 0.6),
    ("xtc_threshold", 0),
    ("mirostat_tau", -1),
    ("mirostat_eta", 0),
    ("dry_multiplier", -0.1),
    ("dry_base", 0.9),
    ("dry_allowed_length", 0),
    ("dry_sequence_breakers", "\n"),
    ("dry_sequence_breakers", [""]),
    ("dry_sequence_breakers", [1.5]),
    ("no_repeat_ngram_size", -1),
    ("bad_words_ids", [1, 2]),
    ("bad_words_ids", [[]]),
    ("bad_words_ids", [["x"]]),
    ("suppress_tokens", 3),
    ("forced_tokens", [5]),
    ("forced_tokens", [(0, 5), (0, 6)]),
    ("forced_tokens", [(0, 5, 6)]),
    ("forced_tokens", {0: 5}),
    ("forced_bos_token_id", -1),
    ("forced_eos_token_id", "x"),
    ("calibration", {"feature": "x"}),
    ("abstain_below", 1.5),
    ("logit_bias", [(1, 2.0)]),
    ("logit_bias", {"5": 1.0}),
    ("logit_bias", {-1: 1.0}),
    ("logit_bias", {True: 1.0}),
    ("logit_bias", {5: math.inf}),
    ("logit_bias", {5: "1"}),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_name_keyword_value_and_what_is_allowed(name, value):
    with pytest.raises(ValueError) as caught:
        make(**{name: value})
    message = str(caught.value)
    assert message.startswith(f"{name}=") and "allowed: " in message
    assert len(message) < 300 and "\n" not in message


def test_a_search_takes_the_place_of_a_directorys_sampling():
    file = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1}
    made = make(file, num_beams=4, num_return_sequences=2, early_stopping="never")
    assert made.greedy and (made.n, made.early_stopping) == (2, "never")
    assert made.repetition_penalty == 1.1
    with pytest.raises(ValueError, match=r"temperature=0\.6 and num_beams=4"):
        make(file, num_beams=4, temperature=0.6)


def test_required_phrases():
    assert make(num_beams=2, required="a cat").required == ("a cat",)
    made = make(num_beams=2, required=["a cat", [3, np.int64(4)], "a cat"])
    assert made.required == ("a cat", (3, 4))
    for bad in (3, b"x", {"a": 1}, [""], [[]], [[1.5]], [[-1]], [True]):
        with pytest.raises(ValueError, match="required="):
            make(num_beams=2, required=bad)


def test_none_means_not_given():
    assert make(**{f.name: None for f in dataclasses.fields(Sampling)}) == Sampling()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("max_new_tokens", "max_tokens"),
        ("repeat_penalty", "repetition_penalty"),
        ("top_logprobs", "logprobs"),
        ("num_beam", "num_beams"),
    ],
)
def test_unknown_keyword_suggests_the_right_one(name, hint):
    with pytest.raises(ValueError, match=f"unknown keyword '{name}'; did you mean '{hint}'"):
        make(**{name: 1})


def test_unknown_keyword_without_a_neighbour_lists_all():
    with pytest.raises(ValueError, match="known: max_tokens, temperature"):
        make(xyzzy=1)


def test_ids_outside_the_vocabulary():
    for overrides in (
        {"logit_bias": {512: 1.0}},
        {"stop_token_ids": [512]},
        {"suppress_tokens": [512]},
        {"begin_suppress_tokens": [512]},
        {"bad_words_ids": [[1], [2, 512]]},
        {"forced_tokens": [(0, 512)]},
        {"forced_bos_token_id": 512},
        {"forced_eos_token_id": [1, 512]},
    ):
        with pytest.raises(ValueError, match="names token 512; allowed: ids from 0 to 511"):
            Sampling.make({}, overrides, vocab_size=512)
        Sampling.make({}, overrides, vocab_size=513)


CONTRADICTIONS = [
    ({"min_tokens": 9, "max_tokens": 4}, "min_tokens=9 is more than max_tokens=4"),
    ({"mirostat_tau": 5}, "mirostat_tau=5.0 needs draws, and temperature=0"),
    ({"xtc_probability": 0.5}, "xtc_probability=0.5 needs draws, and temperature=0"),
    ({"mirostat_tau": 5, "temperature": 1, "top_k": 9}, "mirostat_tau=5.0 .* top_k=9"),
    ({"mirostat_tau": 5, "temperature": 1, "typical_p": 0.5}, "mirostat_tau=5.0 .* typical_p=0.5"),
    ({"forced_tokens": [(4, 1)], "max_tokens": 4}, "forced_tokens .* place 4, .* max_tokens=4"),
    (
        {"forced_tokens": [(0, 1)], "suppress_tokens": [1]},
        "forced_tokens and suppress_tokens both name token 1",
    ),
    (
        {"forced_tokens": [(0, 1)], "begin_suppress_tokens": [1]},
        "forced_tokens begins with token 1, which begin_suppress_tokens names",
    ),
    (
        {"forced_tokens": [(3, 1)], "forced_eos_token_id": 2, "max_tokens": 4},
        "forced_tokens puts 1 at place 3, .* max_tokens=4, where forced_eos_token_id=",
    ),
    (
        {"forced_eos_token_id": 2, "suppress_tokens": [2]},
        "forced_eos_token_id and suppress_tokens both name token 2",
    ),
    (
        {"forced_bos_token_id": 2, "suppress_tokens": [2]},
        "forced_bos_token_id and suppress_tokens both name token 2",
    ),
]


@pytest.mark.parametrize(("overrides", "message"), CONTRADICTIONS)
def test_keywords_that_contradict(overrides, message):
    with pytest.raises(ValueError, match=message):
        make(**overrides)


def test_mirostat_takes_the_place_of_the_filters_in_the_file():
    file = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95}
    made = make(file, mirostat_tau=5)
    assert (made.temperature, made.top_k, made.top_p) == (0.6, 0, 1.0)
    assert make(file, mirostat_tau=0).top_k == 20


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().temperature = 1.0


# --- generation_config.json ------------------------------------------------------------------


def test_a_file_that_does_not_sample_is_greedy():
    for sample in ({}, {"do_sample": False}, {"do_sample": None}):
        made = make({**sample, "temperature": 0.6, "top_p": 0.9})
        assert made.greedy
        # Its filters wait for a caller who does sample.
        assert make({**sample, "top_p": 0.9}, temperature=1).top_p == 0.9


def test_a_file_that_samples():
    file = {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0}
    made = make({**file, "repetition_penalty": 1.05})
    assert (made.temperature, made.top_k, made.top_p, made.min_p) == (0.6, 20, 0.95, 0.0)
    assert made.repetition_penalty == 1.05
    also = {"typical_p": 0.9, "no_repeat_ngram_size": 3, "bad_words_ids": [[4]]}
    made = make({**also, "suppress_tokens": [1], "forced_eos_token_id": 2})
    assert (made.typical_p, made.no_repeat_ngram_size) == (0.9, 3)
    assert (made.bad_words_ids, made.suppress_tokens) == (((4,),), (1,))
    assert made.forced_eos_token_id == (2,)
    assert make({"do_sample": True}).temperature == 1.0
    assert make(file, temperature=0).greedy
    assert make(file, top_k=0).top_k == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("temperature", math.nan),
        ("top_p", 2),
        ("top_k", 1.5),
        ("repetition_penalty", -1),
        ("do_sample", "true"),
    ],
)
def test_a_bad_file_is_a_load_error_naming_file_and_field(field, value):
    with pytest.raises(LoadError, match=rf"^dir/generation_config\.json: {field} is .*expected"):
        Sampling.make({field: value}, source="dir/generation_config.json")


def test_a_file_that_is_no_object():
    with pytest.raises(LoadError, match="expected a JSON object"):
        Sampling.make([1])


def test_real_generation_configs(request):
    folder = request.config.rootpath.parent / "shared/data"
    files = [*folder.glob("configs/hf/*/generation_config*.json")]
    files += folder.glob("models/*/generation_config.json")
    if not files:
        pytest.skip("no ../shared/data beside the repository")
    assert len(files) > 8
    for path in files:
        try:
            config = json.loads(path.read_text())
        except ValueError:  # one of them is not JSON, and upstream's own fault
            assert "qwen1.5-moe" in str(path)
            continue
        made = Sampling.make(config)
        assert made.greedy != bool(config.get("do_sample")), path


def test_every_setting_is_documented():
    for spec in dataclasses.fields(Sampling):
        assert f"{spec.name}:" in inspect.getdoc(Sampling) or f"{spec.name}," in (
            inspect.getdoc(Sampling)
        )
