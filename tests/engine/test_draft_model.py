"""A draft model guesses and the model itself decides: its tokens, logprobs and logits are those of
a run without one, whatever the draft model says."""

from __future__ import annotations

import threading

import pytest

import genfast
import tiny_model
from test_speculation import SAMPLERS, repeating, run

CONFIG = {  # of another shape than the tiny model, the same vocabulary, and half the context
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 97,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="module")
def stranger_dir(tmp_path_factory):
    """A draft model that knows nothing of the tiny one: its guesses are as good as chance."""
    return tiny_model.write_model(tmp_path_factory.mktemp("stranger"), CONFIG, seed=3)


@pytest.fixture(scope="module", params=[True, False], ids=["near", "stranger"])
def near(request):
    return request.param


@pytest.fixture(scope="module")
def draft(near, tiny_dir, stranger_dir):
    """One that is mostly right (the tiny model's weights, rounded), one that is mostly wrong."""
    with genfast.load(tiny_dir if near else stranger_dir, dtype="bfloat16") as model:
        yield model


@pytest.fixture(scope="module", params=[1, 2])
def model(request, tiny_dir):
    with genfast.load(tiny_dir, threads=request.param) as model:
        yield model


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_the_same(model, draft, rng, sampler):
    prompts = repeating(rng, model.vocab_size)
    expected, *_ = run(model, prompts, speculate=False, **SAMPLERS[sampler])
    for speculate in ("auto", True):
        got, drafted, _ = run(model, prompts, speculate=speculate, draft=draft, **SAMPLERS[sampler])
        assert got == expected
    assert drafted > 0 or sampler == "stop_ids"


def test_the_nearer_it_is_the_more_is_accepted(model, draft, near, rng):
    prompts = rng.integers(0, model.vocab_size, (4, 12)).tolist()
    _, drafted, accepted = run(model, prompts, speculate=True, draft=draft)
    assert accepted > drafted / 2 if near else accepted < drafted / 2


def test_of_its_own_weights_every_guess_is_right(tiny_dir, tiny, prompt):
    before = tiny.stats()["steps"]
    _, drafted, accepted = run(tiny, [prompt], max_tokens=46, speculate=True, draft=tiny)
    assert (drafted, accepted) == (40, 40)
    assert tiny.stats()["steps"] - before == 1 + 5  # 8 guesses and a token more a step
    with genfast.load(tiny_dir) as other:  # and by a path
        assert run(other, [prompt], max_tokens=46, speculate=True, draft=tiny_dir)[1:] == (40, 40)


def test_a_prompt_longer_than_a_step_is_caught_up_with(tiny, rng):
    ids = rng.integers(0, tiny.vocab_size, 800).tolist()
    options = {"max_tokens": 60, "temperature": 0.0}
    expected, *_ = run(tiny, [ids], speculate=False, **options)
    got, drafted, accepted = run(tiny, [ids], speculate=True, draft=tiny, **options)
    assert got == expected
    assert drafted == accepted > 40  # after the step in which it was behind


def test_beyond_its_own_context_it_is_silent(tiny, stranger_dir, rng):
    ids = rng.integers(0, tiny.vocab_size, 500).tolist()
    options = {"max_tokens": 60, "temperature": 0.0}
    with genfast.load(stranger_dir) as stranger:
        expected, *_ = run(tiny, [ids], speculate=False, **options)
        got, drafted, _ = run(tiny, [ids], speculate=True, draft=stranger, **options)
        assert got == expected and drafted > 0
        far = tiny.generate([ids + ids[:100]], speculate=True, draft=stranger, **options)[0]
        plain = tiny.generate([ids + ids[:100]], speculate=False, **options)[0]
        assert far.token_ids == plain.token_ids


def test_those_that_gave_way_and_those_that_wait(tiny_dir, draft, rng):
    """A cache in which not all have room at once: they are preempted, and so come back."""
    with genfast.load(tiny_dir) as model:
        budget = 16 * model.kv_page_bytes
        prompts = [phrase * 2 for phrase in repeating(rng, model.vocab_size)]
        options = {"temperature": 0.5, "max_tokens": 150}
        expected, *_ = run(model, prompts, speculate=False, **options)
    with genfast.load(tiny_dir, kv_cache_bytes=budget) as narrow:
        assert run(narrow, prompts, speculate=True, draft=draft, **options)[0] == expected


def test_it_may_be_closed_while_it_is_asked(tiny_dir, tiny, prompt):
    options = {"max_tokens": 300, "temperature": 0.5, "seed": 1, "ignore_eos": True}
    expected = tiny.generate(prompt, speculate=False, **options).token_ids
    draft = genfast.load(tiny_dir)
    stream = tiny.stream(prompt, speculate=True, draft=draft, **options)
    tokens = next(stream).token_ids
    draft.close()
    tokens += [t for chunk in stream for t in chunk.token_ids]
    assert tokens == expected
    with pytest.raises(RuntimeError, match="closed"), genfast.load(tiny_dir) as other:
        other.generate(prompt, draft=draft)


def test_closing_and_cancelling_with_drafts_in_flight(tiny_dir, draft, prompt):
    with genfast.load(tiny_dir) as model:
        streams = [
            model.stream(prompt, max_tokens=900, speculate=True, draft=draft, ignore_eos=True)
            for _ in range(4)
        ]
        for stream in streams:
            next(stream)
        streams[0].close()
        reader = threading.Thread(target=lambda: list(streams[1]))
        reader.start()
    reader.join(30)
    assert not reader.is_alive()


def test_what_is_refused(tiny, tiny_dir, tmp_path, prompt):
    config = {**CONFIG, "vocab_size": 98}
    with genfast.load(tiny_model.write_model(tmp_path / "other", config, seed=1)) as other:
        with pytest.raises(ValueError, match="vocabulary of 98 tokens, this model of 97"):
            tiny.generate(prompt, draft=other)
        with pytest.raises(ValueError, match=r"draft=.* contradicts speculate=False"):
            tiny.generate(prompt, draft=other, speculate=False)
        with pytest.raises(ValueError, match=r"draft=.* and num_beams=2"):
            tiny.generate(prompt, draft=other, num_beams=2)
    for wrong in (7, object(), [tiny]):
        with pytest.raises(ValueError, match=r"allowed: a model that genfast\.load gave"):
            tiny.generate(prompt, draft=wrong)
    with pytest.raises(genfast.LoadError):
        tiny.generate(prompt, draft=str(tmp_path / "nothing"))


def test_vocabularies_of_the_same_size_are_compared(tmp_path):
    """The bundled model beside a copy of it in which two tokens have changed places."""
    import json
    import shutil

    with genfast.load(progress=False) as model:
        copy = tmp_path / "copy"
        shutil.copytree(model.path, copy)
        with genfast.load(copy, progress=False) as same:
            out = model.generate("The king", max_tokens=20, draft=same, speculate=True)
            assert out.usage.accepted_tokens > 0
        data = json.loads((copy / "tokenizer.json").read_text())
        vocab = data["model"]["vocab"]
        names = {token_id: token for token, token_id in vocab.items()}
        vocab[names[500]], vocab[names[501]] = 501, 500
        (copy / "tokenizer.json").write_text(json.dumps(data))
        with (
            genfast.load(copy, progress=False) as changed,
            pytest.raises(ValueError, match=r"draft: token 500 is .*; the vocabularies must be"),
        ):
            model.generate("The king", draft=changed)
