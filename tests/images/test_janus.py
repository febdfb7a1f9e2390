"""Janus against transformers: codes drawn with guidance by the engine of text, and their images."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genfast
import janus_cases
import tiny_model
from genfast.errors import LoadError
from janus_cases import BEGIN, BOS, CASES, CODES, PAD, SIDE, TEXT

CLOSE = 1e-3  # the bound, in pixels of -1 to 1
EXACT = {"dtype": "float32"}


def golden_of(case) -> dict:
    with np.load(case.file) as file:
        found = dict(file)
    return {**found, "shapes": json.loads(str(found["shapes"]))}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def opened(request, tmp_path_factory):
    golden = golden_of(request.param)
    directory = request.param.write(tmp_path_factory.mktemp("janus"), golden["shapes"])
    with genfast.load(directory, **EXACT) as pipe:
        yield pipe, golden


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory):
    golden = golden_of(CASES[0])
    return CASES[0].write(tmp_path_factory.mktemp("base"), golden["shapes"])


def test_codes_and_image_are_those_of_transformers(opened):
    pipe, golden = opened
    seen = []
    made = pipe.generate(
        golden["prompt"].tolist(), temperature=0, output_type="np", callback=seen.append
    )
    assert seen[-1].sample.reshape(-1).astype(int).tolist() == golden["codes"].tolist()
    pixels = made.images[0].transpose(2, 0, 1) * 2 - 1
    assert np.abs(pixels - np.clip(golden["image"], -1, 1)).max() <= CLOSE
    decoded = pipe.decode(golden["codes"][None])[0]
    assert np.abs(decoded - golden["image"]).max() <= CLOSE
    assert made.steps == len(seen) == SIDE * SIDE


def test_texts_are_those_of_transformers(opened):
    pipe, golden = opened
    ids = golden["prompt"].tolist()
    logits = pipe.model.logits(ids)
    assert logits.shape == (len(ids), TEXT + CODES)
    off = np.linalg.norm(logits[:, :TEXT] - golden["logits"]) / np.linalg.norm(golden["logits"])
    assert off <= 1e-4
    out = pipe.model.generate(ids, max_tokens=16, temperature=0, ignore_eos=True)
    assert out.token_ids == golden["text"].tolist()


@pytest.mark.parametrize(
    "stored, options, bound",
    # Of the norm of the logits: 8 bits a weight and an activation, or 4 a weight, over two layers.
    [
        ("BF16", {}, 0.03),
        ("F16", {"dtype": "bfloat16"}, 0.03),
        ("F32", {"quantize": "int8"}, 0.06),
        ("F32", {"quantize": "int4"}, 0.4),
    ],
)
def test_other_formats(tmp_path, stored, options, bound):
    golden = golden_of(CASES[0])
    ids = golden["prompt"].tolist() + (golden["codes"] + TEXT).tolist()
    with genfast.load(CASES[0].write(tmp_path / "exact", golden["shapes"]), **EXACT) as pipe:
        exact = pipe.model.logits(ids)
    with genfast.load(CASES[0].write(tmp_path, golden["shapes"], stored), **options) as pipe:
        got = pipe.model.logits(ids)
        for part in (slice(TEXT), slice(TEXT, None)):
            off = np.linalg.norm(got[:, part] - exact[:, part]) / np.linalg.norm(exact[:, part])
            print(part, off)
            assert 0 < off <= bound
        assert len(pipe.generate(ids[:9], seed=1, output_type="np").images) == 1


def test_the_same_bits_alone_beside_others_and_on_other_threads(base_dir, rng):
    prompts = [[BOS, *rng.integers(8, TEXT, n).tolist(), BEGIN] for n in (3, 40)]
    seen, others = set(), set()
    for threads in (1, 2):
        with genfast.load(base_dir, threads=threads) as pipe:
            options = {"seed": 7, "output_type": "np"}
            seen.add(pipe.generate(prompts[0], **options).images[0].tobytes())
            several = pipe.generate(prompts, n=2, **options).images
            seen.add(several[0].tobytes())
            others.add(tuple(image.tobytes() for image in several[1:]))
            assert pipe.generate(prompts[0], seed=8, output_type="np").images.tobytes() not in seen
    assert len(seen) == len(others) == 1
    assert len({*seen, *others.pop()}) == 4


def test_it_is_the_model_that_draws(base_dir, rng):
    """The pipeline's codes are what `generate` gives for the same two prompts."""
    words = rng.integers(8, TEXT, 6).tolist()
    with genfast.load(base_dir) as pipe:
        seen = []
        options = {"temperature": 0.7, "top_k": 9, "seed": 3}
        pipe.generate([BOS, *words, BEGIN], **options, output_type="np", callback=seen.append)
        out = pipe.model.generate(
            [BOS, *words, BEGIN],
            guidance_scale=4.0,
            negative_prompt=[BOS, *[PAD] * len(words), BEGIN],
            max_tokens=SIDE * SIDE,
            suppress_tokens=list(range(TEXT)),
            ignore_eos=True,
            **options,
        )
        drawn = seen[-1].sample.reshape(-1).astype(int)
        assert (drawn + TEXT).tolist() == out.token_ids
        # Codes may stand in a prompt too: the rest of an image.
        rest = pipe.model.generate(
            [BOS, *words, BEGIN, *out.token_ids[:5]], max_tokens=3, suppress_tokens=range(TEXT)
        )
        assert min(rest.token_ids) >= TEXT


def test_a_callback_ends_it_with_what_there_is(base_dir):
    with genfast.load(base_dir) as pipe:
        steps = []

        def stop_at_five(step):
            steps.append(step)
            return len(steps) < 5

        made = pipe.generate([BOS, 9, BEGIN], seed=1, n=3, output_type="np", callback=stop_at_five)
        assert made.finish_reason == "cancelled" and made.steps == 5
        assert made.images.shape == (3, 2 * SIDE, 2 * SIDE, 3)
        sample = steps[-1].sample.reshape(3, -1)
        assert not sample[:, 5:].any()
        assert [step.index for step in steps] == [0, 1, 2, 3, 4]
        assert steps[0].steps == SIDE * SIDE


def test_codes_that_found_no_room_are_told(base_dir, monkeypatch):
    def ends_early(*_, **__):
        yield from (genfast.Chunk("", token_ids=[TEXT + code]) for code in range(3))

    with genfast.load(base_dir) as pipe:
        monkeypatch.setattr(pipe.model, "stream", ends_early)
        with pytest.raises(MemoryError, match="keys and values of an image's 16 codes"):
            pipe.generate([BOS, 9, BEGIN])


@pytest.mark.parametrize("templated", [False, True])
def test_a_text_is_a_prompt(tmp_path, templated):
    golden = golden_of(CASES[0])
    CASES[0].write(tmp_path, golden["shapes"])
    tiny_model.write_letters(tmp_path, "abcdefghijklmnop")
    if templated:
        template = "{% for m in messages %}h{{ m.content[0].text }}i{% endfor %}"
        settings = {"eos_token": "<end>", "chat_template": template}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    with genfast.load(tmp_path) as pipe:
        ids, other = ([7, 3, 8], [7, 4, 8]) if templated else ([3], [4])
        assert pipe.ids_of("d") == [*ids, BEGIN]
        options = {"seed": 2, "output_type": "np"}
        by_text = pipe.generate("d", **options).images
        assert by_text.tobytes() == pipe.generate([*ids, BEGIN], **options).images.tobytes()
        seen = []
        pipe.generate(["d", "e"], negative_prompt="e", **options, callback=seen.append)
        expected = pipe.model.generate(
            [*ids, BEGIN],
            negative_prompt=[*other, BEGIN],
            guidance_scale=4.0,
            seed=2,
            temperature=1.0,
            suppress_tokens=range(TEXT),
            max_tokens=SIDE * SIDE,
            ignore_eos=True,
        ).token_ids
        assert (seen[-1].sample[0].reshape(-1) + TEXT).astype(int).tolist() == expected
        assert pipe.model.generate("d", max_tokens=4, ignore_eos=True).token_ids[0] < TEXT


@pytest.mark.parametrize(
    "prompt, options, message",
    [
        ("a red fox", {}, "a text needs a tokenizer"),
        ([], {}, "prompt is empty"),
        (3, {}, "prompt=3 is not allowed; allowed: a text, token ids"),
        ([[9], 3], {}, "prompt=.* is not allowed"),
        ([TEXT + CODES], {}, r"prompt\[0\] is token 104"),
        ([9] * 82, {}, "prompt has 82 tokens; the model's context of 96 holds 81 before 16 codes"),
        ([9], {"steps": 3}, "steps is not allowed"),
        ([9], {"negative_prompt": ["a", "b"]}, "negative_prompt=.* one for each prompt"),
        ([9], {"top_k": -1}, "top_k=-1 is not allowed"),
    ],
)
def test_what_it_has_no_use_for_is_refused(base_dir, prompt, options, message):
    with genfast.load(base_dir) as pipe, pytest.raises(ValueError, match=message):
        pipe.generate(prompt, **options)


@pytest.mark.parametrize(
    "part, change, message",
    [
        ("vq_config", {"num_embeddings": 41}, "quantize.embedding.weight.*found shape"),
        ("vq_config", {"projection_dim": 31}, "vq_config.projection_dim.*hidden_size = 32"),
        ("vq_config", {"base_channels": 40}, "vq_config.base_channels.*multiples of 32"),
        ("vq_config", {"embed_dim": 5}, "found shape"),
        ("vision_config", {"num_image_tokens": 17}, "vision_config.num_image_tokens.*4 · 4"),
        ("text_config", {"model_type": "gemma"}, "text_config.model_type"),
        ("text_config", None, "text_config.*found null"),
    ],
)
def test_bad_directories_are_refused(tmp_path, part, change, message):
    golden = golden_of(CASES[0])
    case = janus_cases.Case("bad", {"tie_word_embeddings": False, part: change})
    with pytest.raises(LoadError, match=message):
        genfast.load(case.write(tmp_path, golden["shapes"]))


def test_an_image_needs_the_id_that_begins_it(tmp_path):
    golden = golden_of(CASES[0])
    CASES[0].write(tmp_path, golden["shapes"])
    (tmp_path / "generation_config.json").write_text(json.dumps(janus_cases.GENERATION))
    with pytest.raises(LoadError, match="boi_token_id: found nothing, expected the id of <begin"):
        genfast.load(tmp_path)
