"""device="cuda": the programs of the CPU, against transformers, on a GPU (-m gpu) or on its
emulation, where the same kernels are compiled for the CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import families
import genfast
import golden_checks
import tiny_model
import tolerance
from genfast import _core
from golden_cases import CASES

pytestmark = pytest.mark.slow  # fibers; and no other instruction set would change a thing


GPU = pytest.param("gpu", marks=pytest.mark.gpu)
# For tests of what Hopper does in its own way.
on_hopper_too = pytest.mark.parametrize("cuda", ["emulated", "hopper", GPU], indirect=True)


@pytest.fixture(params=["emulated", GPU])
def cuda(request, monkeypatch):
    """Options of `load` that open a model on the device."""
    if request.param != "gpu":
        library = request.getfixturevalue("emulation")
        monkeypatch.setenv("GENFAST_CUDA_LIBRARY", str(library))
        if request.param == "hopper":
            monkeypatch.setenv("GENFAST_EMULATED_CAPABILITY", "90")
    else:
        monkeypatch.delenv("GENFAST_CUDA_LIBRARY", raising=False)
        try:
            _core.cuda_info()
        except genfast.DeviceError as missing:
            pytest.skip(str(missing))
    return {"device": "cuda", "kv_cache_bytes": 1 << 24}


CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 48,
    "intermediate_size": 100,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}
FORMATS = {
    "f32": {"dtype": "float32", "kv_dtype": "float32"},
    "bf16": {"dtype": "bfloat16", "kv_dtype": "bfloat16"},
    "int8": {"quantize": "int8", "kv_dtype": "int8"},
    "int4": {"quantize": "int4", "kv_dtype": "int4"},
    "fp8": {"quantize": "fp8", "kv_dtype": "fp8"},
    # The first of two layers on the GPU, the second on the CPU.
    "parted": {"quantize": "int8", "kv_dtype": "int8", "gpu_layers": 1},
}


@pytest.fixture
def tiny(tmp_path):
    return tiny_model.write_model(tmp_path, CONFIG, seed=7)


# What kernels see of a configuration; all else is the recorder's.
SHAPES = ["base", "biases", "head-dim", "one-kv-head", "odd-sizes", "tied", "dynamic"]


@pytest.mark.parametrize("name", SHAPES)
def test_logits(name, tmp_path, cuda):
    golden_checks.check_logits(CASES[f"llama-{name}"], tmp_path, **cuda)


@pytest.mark.parametrize("name", ["llama-base", "llama-dynamic", "llama-tied"])
def test_logits_of_layers_on_the_gpu_and_layers_on_the_cpu(name, tmp_path, cuda):
    golden_checks.check_logits(CASES[name], tmp_path, **cuda, gpu_layers=1)


@pytest.mark.parametrize("name", ["llama-base", "llama-one-kv-head"])
def test_greedy(name, tmp_path, cuda):
    golden_checks.check_greedy(CASES[name], tmp_path, **cuda)


@on_hopper_too
@pytest.mark.parametrize("rounding", ["bfloat16", "int8", "int4", "fp8"])
def test_rounded_weights(rounding, rng, tmp_path, cuda):
    golden_checks.check_rounded(CASES["llama-base"], tmp_path, rng, rounding, "float32", **cuda)


@on_hopper_too
def test_rounded_cache(rng, tmp_path, cuda):
    case = CASES["llama-head-dim"]
    golden_checks.check_rounded(case, tmp_path, rng, "bfloat16", "bfloat16", **cuda)


@on_hopper_too
@pytest.mark.parametrize("format", FORMATS)
def test_the_same_bits_in_any_batch_and_chunking(tiny, rng, cuda, format):
    prompts = [rng.integers(97, size=n).tolist() for n in (3, 35, 18)]
    options = {"max_tokens": 3, "temperature": 0.9, "seed": 5, "logprobs": 3}
    with genfast.load(tiny, **cuda, **FORMATS[format]) as model:
        assert model.isa.partition("+")[0] == ("cuda:1" if format == "parted" else "cuda")
        together = model.generate(prompts, **options)
        for ids, out in zip(prompts, together, strict=True):
            alone = model.generate(ids, **options)
            assert alone.token_ids == out.token_ids
            assert alone.logprobs == out.logprobs
        whole = model.logits(prompts[1], reuse=False)
        chunked = model.logits(prompts[1], chunk=7, reuse=False)
        assert chunked.tobytes() == whole.tobytes()
        short = model.logits(prompts[0], chunk=1, reuse=False)  # by the graph that decodes
        assert short.tobytes() == model.logits(prompts[0], reuse=False).tobytes()
        assert model.logits(prompts[1]).tobytes() == whole.tobytes(), "from the prefix cache"


# A case of each family: together they record every op of language models, in all its variants.
# Chameleon and Janus open as pipelines, whose programs of images have no kernels there yet.
FAMILIES = {
    family.model_type: family
    for family in reversed(families.CASES)
    if family.model_type not in ("chameleon", "janus")
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_families(family, tmp_path, cuda):
    with np.load(family.file) as golden:
        ids, expected = golden["ids_0"][:7].tolist(), golden["logits_0"]
        greedy = golden["greedy"][:3].tolist()
        prompt = golden["ids_0"].tolist()
    with genfast.load(family.write(tmp_path), dtype="float32", kv_dtype="float32", **cuda) as model:
        got = model.logits(ids)
        known = got[:, : expected.shape[1]]  # of ids that are ours, upstream has no logits
        assert tolerance.relative_distance(known, expected[: len(ids)]).max() <= 1e-4
        assert model.logits(ids, chunk=3, reuse=False).tobytes() == got.tobytes()
        out = model.generate(prompt, max_tokens=3, ignore_eos=True, temperature=0, **family.options)
        assert out.token_ids == greedy


def check_beside_others(path, rng, options):
    prompts = [rng.integers(64, size=n).tolist() for n in (3, 20, 11)]
    sampler = {"max_tokens": 3, "temperature": 0, "ignore_eos": True, "logprobs": 3}
    with genfast.load(path, **options) as model:
        together = model.generate(prompts, **sampler)
        for ids, out in zip(prompts, together, strict=True):
            alone = model.generate(ids, **sampler)
            assert alone.token_ids == out.token_ids
            assert alone.logprobs == out.logprobs


@pytest.mark.parametrize("name", ["bamba", "deepseek_v3", "rwkv7"])
def test_families_beside_others(name, rng, tmp_path, cuda):
    """Experts, states and latent rows: the same bits for any batch, in int8."""
    check_beside_others(FAMILIES[name].write(tmp_path), rng, {"quantize": "int8", **cuda})


@on_hopper_too
def test_experts_beside_others(rng, tmp_path, cuda):
    check_beside_others(FAMILIES["mixtral"].write(tmp_path), rng, {"dtype": "bfloat16", **cuda})


@pytest.mark.parametrize("format", FORMATS)
def test_every_value_is_the_reference_s(tiny, rng, cuda, format):
    """Op by op through the layers, so that a difference is told by the first that shows it."""
    ids = rng.integers(97, size=37).tolist()
    with genfast.load(tiny, **cuda, **FORMATS[format]) as model:
        names = list(model._native_program.names)
        got = model.tap(ids, names)
        want = _core.tap(model._native_program, model._layouts, ids, names, isa="ref")
    # Roundings of float32, or of values that lie on the edge between two of a coarser format. In an
    # int4 cache such a value moves by a fifteenth of its group's range, and what later tokens see
    # with it: far for a few, while a wrong kernel would be wrong for most.
    allowed = {"f32": 1e-5, "int4": 0.5}.get(format, 0.05)
    for name in names:
        off = np.abs(got[name] - want[name]) / np.abs(want[name]).max()
        assert off.max() <= allowed, name
        assert (off > 0.02).mean() <= 0.15, name


@pytest.mark.parametrize("layers", [None, 1])
def test_beams_and_guesses(tiny, cuda, layers):
    """Pages that several share are copied on the device; guesses are verified several a step."""
    ids = [3, 14, 15, 92, 65, 35, 89, 79, 32]
    with genfast.load(tiny, dtype="float32") as cpu:
        want = cpu.generate(ids, max_tokens=8, num_beams=3)
    with genfast.load(tiny, dtype="float32", **cuda, gpu_layers=layers) as model:
        assert model.generate(ids, max_tokens=8, num_beams=3).token_ids == want.token_ids
        plain = model.generate(ids * 3, max_tokens=12, speculate=False)
        guessed = model.generate(ids * 3, max_tokens=12, speculate=True)
    assert guessed.token_ids == plain.token_ids


def test_saved_keys_and_values_of_both_parts(tiny, rng, tmp_path, cuda):
    ids = rng.integers(97, size=70).tolist()
    file = tmp_path / "prefix.kv"
    with genfast.load(tiny, **cuda, gpu_layers=1) as model:
        assert model.save_kv(ids, file) == 64
        whole = model.logits(ids, reuse=False)
    with genfast.load(tiny, **cuda, gpu_layers=1) as model:
        assert model.load_kv(file) == 64
        tail = model.logits(ids, start=64)
        assert tail.tobytes() == whole[64:].tobytes()
        assert model.stats()["cached_tokens"] == 64
    with (
        genfast.load(tiny, **cuda) as model,
        pytest.raises(genfast.LoadError, match="isa: found 'cuda:1\\+"),
    ):
        model.load_kv(file)


def test_more_layers_than_there_are(tiny, cuda):
    with pytest.raises(ValueError, match=r"gpu_layers=3 .* the model has 2 layers"):
        genfast.load(tiny, **cuda, gpu_layers=3)


@pytest.fixture
def two_gpus(cuda):
    if "GENFAST_CUDA_LIBRARY" not in os.environ and _core.cuda_info()["count"] < 2:
        pytest.skip("needs two GPUs")
    return {**cuda, "tensor_parallel": 2, "threads": 1}


def test_two_ranks(tmp_path, two_gpus):
    golden_checks.check_logits(CASES["llama-base"], tmp_path, **two_gpus)


def test_the_same_bits_of_two_ranks(tiny, rng, two_gpus):
    ids = rng.integers(97, size=11).tolist()
    with genfast.load(tiny, **two_gpus, **FORMATS["bf16"]) as model:
        whole = model.logits(ids, reuse=False)
        chunked = model.logits(ids, chunk=1, reuse=False)  # by the graph that decodes
        assert chunked.tobytes() == whole.tobytes()
        together = model.generate([ids, ids[:3]], max_tokens=2, logprobs=1)
        for prompt, out in zip([ids, ids[:3]], together, strict=True):
            assert model.generate(prompt, max_tokens=2, logprobs=1).logprobs == out.logprobs


SAMPLERS = {
    "greedy": {"temperature": 0},
    "top_k": {"temperature": 0.9, "top_k": 20, "top_p": 0.95},
    "min_p": {"temperature": 1.2, "min_p": 0.05},
    "top_p": {"temperature": 1, "top_p": 0.8},
    "all": {"temperature": 1},
    "penalties": {"temperature": 1, "top_k": 20, "repetition_penalty": 1.3},
}


def test_tokens_drawn_there_are_those_drawn_here(tiny, rng, cuda):
    """From the same logits, as their digests tell: whoever asks for more than 20 logprobs has them
    drawn by the CPU. Requests of all kinds share the steps, and what one of them is does not
    matter."""
    prompts = [rng.integers(97, size=rng.integers(2, 30)).tolist() for _ in SAMPLERS]
    seed = int(rng.integers(1 << 31))
    with genfast.load(tiny, **cuda, **FORMATS["f32"]) as model:

        def together(**more):
            runs = [
                model.stream(prompt, max_tokens=6, seed=seed, **sampler, **more)
                for prompt, sampler in zip(prompts, SAMPLERS.values(), strict=True)
            ]
            return [[token for chunk in run for token in chunk.token_ids] for run in runs]

        there, here = together(), together(logprobs=21)
        for kind, prompt, got, want in zip(SAMPLERS, prompts, there, here, strict=True):
            assert got == want, kind
            alone = model.generate(prompt, max_tokens=6, seed=seed, **SAMPLERS[kind])
            assert alone.token_ids == got, kind
            told = model.generate(prompt, max_tokens=6, seed=seed, logprobs=21, **SAMPLERS[kind])
            assert told.receipt.digests == alone.receipt.digests, kind
            assert told.token_ids == got, kind
        options = {"max_tokens": 8, "seed": seed, **SAMPLERS["top_k"]}
        plain = model.generate(prompts[1] * 3, speculate=False, **options)
        guessed = model.generate(prompts[1] * 3, speculate=True, **options)
        assert guessed.token_ids == plain.token_ids


@pytest.mark.parametrize(
    ("library", "message"),
    [
        ("/nowhere/libgenfast_cuda.so", "needs genfast's CUDA part.*GENFAST_CUDA=ON"),
        (_core.__file__, "belongs to another version of genfast"),
    ],
)
def test_without_the_cuda_part(library, message):
    """All else works, and asking for the device says what is missing."""
    code = f"""
import re, genfast
try:
    genfast.load(device="cuda")
except genfast.DeviceError as error:
    assert re.search({message!r}, str(error), re.S), error
with genfast.load() as model:
    assert len(model.generate("Once", max_tokens=2).token_ids) == 2
"""
    env = {**os.environ, "GENFAST_CUDA_LIBRARY": library}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def test_the_part_that_was_built():
    """By nvcc: it opens without a driver, and says so when a model asks for it."""
    library = os.environ.get("GENFAST_TEST_CUDA")
    if not library:
        pytest.skip("needs GENFAST_TEST_CUDA, the path of a libgenfast_cuda.so that nvcc made")
    code = """
import genfast
try:
    print(genfast.load(device="cuda").isa)
except genfast.DeviceError as error:
    print(error)
"""
    env = {**os.environ, "GENFAST_CUDA_LIBRARY": library}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    told = done.stdout.strip()
    assert told == "cuda" or "libcuda.so.1" in told or "finds no GPU" in told
