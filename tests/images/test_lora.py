"""LoRAs merged into pipelines, against diffusers with PEFT; and what can be wrong with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import genfast
import tiny_pipelines as tiny
from genfast.errors import LoadError
from lora_cases import CASES

CLOSE = 1e-3
OPTIONS = {"steps": tiny.STEPS, "seed": tiny.SEED, "guidance_scale": tiny.GUIDANCE}
OPTIONS |= {"output_type": "np", "height": 16, "width": 16}


def written(case, directory):
    """The pipeline's directory, (file, strength) of each LoRA, and the golden."""
    with np.load(case.file) as file:
        golden = dict(file)
    told = {n: json.loads(str(golden[n])) for n in ("shapes", "metadata", "networks")}
    base = tiny.write(directory / "base", case.pipeline, told["networks"])
    files = [
        (lora.write(directory / f"lora_{i}/lora.safetensors", shapes, metadata), lora.strength)
        for i, (lora, shapes, metadata) in enumerate(
            zip(case.loras, told["shapes"], told["metadata"], strict=True)
        )
    ]
    return base, files, golden


def images(base, adapters=(), **options):
    with genfast.load(base, adapters=adapters, **options) as pipe:
        return pipe.generate(tiny.PROMPTS, **OPTIONS).images


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_images_are_those_of_diffusers(case, tmp_path):
    base, files, golden = written(case, tmp_path)
    np.testing.assert_allclose(images(base, files), golden["images"], rtol=0, atol=CLOSE)
    np.testing.assert_allclose(images(base), golden["plain"], rtol=0, atol=CLOSE)
    assert np.abs(golden["images"] - golden["plain"]).mean() > 30 * CLOSE


@pytest.fixture
def peft(tmp_path):
    return written(CASES[0], tmp_path)


def test_a_directory_and_strengths(peft):
    base, [(file, _)], golden = peft
    file.rename(file.with_name("pytorch_lora_weights.safetensors"))
    (file.parent / "another.safetensors").write_bytes(b"")
    found = images(base, [file.parent])
    np.testing.assert_allclose(found, golden["images"], rtol=0, atol=CLOSE)
    assert images(base, [(file.parent, 0)]).tobytes() == images(base).tobytes()
    both = images(base, [(file.parent, 0.4), (file.parent, 0.6)])
    np.testing.assert_allclose(both, found, rtol=0, atol=CLOSE)


def test_text_encoders_of_older_transformers(peft):
    """Whose modules begin with text_model, as do those of most LoRAs there are."""
    base, files, _ = peft
    before = images(base, files)
    file = files[0][0]
    renamed(file, "text_encoder.", "text_encoder.text_model.", told(file))
    assert images(base, files).tobytes() == before.tobytes()


def test_the_same_bits_on_any_number_of_threads(peft):
    base, files, _ = peft
    assert len({images(base, files, threads=n).tobytes() for n in (1, 2)}) == 1


def test_merged_before_they_are_quantised(peft):
    base, files, golden = peft
    apart = [
        np.abs(images(base, more, quantize="int8") - golden[name]).mean()
        for more, name in ((files, "images"), ((), "plain"))
    ]
    assert apart[0] <= 3 * apart[1]


def told(file) -> dict[str, str]:
    with safe_open(file, "np") as opened:
        return opened.metadata()


UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


def renamed(file, old, new, metadata=None):
    tensors = load_file(file)
    save_file({name.replace(old, new): t for name, t in tensors.items()}, file, metadata)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("down_blocks.0.attentions", "down_blocks.7.attentions", "unet at .*which .*unet has not"),
        ("text_encoder.", "text_encoder_2.", "changes text_encoder_2; this pipeline has unet"),
        (".lora_A.", ".lora_magnitude_vector.", "other kinds of adapters cannot be merged"),
        (f"{UNET}.lora_B", f"{UNET}x.lora_B", "its other half is missing|has not"),
        ("encoder.layers.0.mlp.fc1", "embeddings.token_embedding", "keeps as a table"),
    ],
)
def test_tensors_that_do_not_fit_are_named(peft, old, new, message):
    base, [(file, _)], _ = peft
    renamed(file, old, new)
    with pytest.raises(LoadError, match=rf"lora\.safetensors: tensor .*({message})"):
        genfast.load(base, adapters=[file])


def test_ranks_and_shapes_are_checked(peft):
    base, [(file, _)], _ = peft
    tensors = load_file(file)
    told = {"unet.r": 5, "unet.lora_alpha": 5}
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps(told)})
    with pytest.raises(LoadError, match="found rank 3, expected 5 by lora_adapter_metadata"):
        genfast.load(base, adapters=[file])
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps({"unet.use_dora": True})})
    with pytest.raises(LoadError, match=r"lora_adapter_metadata\.unet\.use_dora: found true"):
        genfast.load(base, adapters=[file])
    name = f"{UNET}.lora_A.weight"
    save_file({**tensors, name: np.ascontiguousarray(tensors[name][:, 1:])}, file)
    with pytest.raises(LoadError, match=rf"{name}.*found shape \[2, 15\], expected \[2, 16\]"):
        images(base, [file])


def test_alphas_and_ranks_that_are_none(tmp_path):
    base, files, _ = written(CASES[3], tmp_path)
    file = files[0][0]
    tensors = load_file(file)
    alpha = next(name for name in tensors if name.endswith(".alpha"))
    down = alpha.replace(".alpha", ".lora_down.weight")
    for name, tensor, message in (
        (alpha, np.zeros(0, np.float32), r"found \[\], expected one finite number"),
        (alpha, np.float32([np.nan]), r"found \[nan\], expected one finite number"),
        (down, np.zeros((), np.float32), r"found shape \[\], expected \[rank, inputs"),
        (down, np.zeros(3, np.float32), r"found shape \[3\], expected \[rank, inputs"),
        (down, np.zeros((0, 4), np.float32), r"found shape \[0, 4\], expected \[rank, inputs"),
    ):
        save_file({**tensors, name: tensor}, file)
        with pytest.raises(LoadError, match=message):
            genfast.load(base, adapters=[file])


def test_wrong_arguments_are_named(peft, tmp_path):
    base, [(file, _)], _ = peft
    with pytest.raises(ValueError, match=r"adapters\[0\]='nowhere' is neither a file nor a dir"):
        genfast.load(base, adapters=["nowhere"])
    with pytest.raises(ValueError, match=r"adapters\[0\]: strength='much' is not allowed"):
        genfast.load(base, adapters=[(file, "much")])
    with pytest.raises(ValueError, match="adapters='x' is not allowed"):
        genfast.load(base, adapters="x")
    with pytest.raises(LoadError, match="no safetensors file"):
        (tmp_path / "empty").mkdir()
        genfast.load(base, adapters=[tmp_path / "empty"])
