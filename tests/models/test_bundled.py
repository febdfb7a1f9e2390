"""The model that comes with genfast, against transformers on the same directory."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import genfast
import tolerance

DIRECTORY = Path(genfast.__file__).parent / "data/default"
GOLDEN = Path(__file__).parents[1] / "goldens/bundled.npz"


def test_ids_and_logits_are_those_of_transformers():
    with np.load(GOLDEN) as golden, genfast.load(dtype="float32", kv_dtype="float32") as model:
        weights = (DIRECTORY / "model.safetensors").read_bytes()
        assert golden["crc"] == zlib.crc32(weights), "stale: run tools/make_goldens.py"
        for i, text in enumerate(golden["texts"]):
            ids = golden[f"ids_{i}"].tolist()
            assert model.tokenizer.encode(str(text)) == ids
            apart = tolerance.relative_distance(model.logits(ids), golden[f"logits_{i}"])
            assert apart.max() <= tolerance.FLOAT32_LOGITS, (text, apart)


@pytest.mark.parity
def test_transformers_opens_the_directory(rng):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(DIRECTORY, dtype=torch.float32)
    ids = rng.integers(0, theirs.config.vocab_size, 50)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids[None])).logits[0].numpy()
    with genfast.load(dtype="float32", kv_dtype="float32") as model:
        apart = tolerance.relative_distance(model.logits(ids.tolist()), expected)
    assert apart.max() <= tolerance.FLOAT32_LOGITS


def test_it_writes_english():
    """Sampled text is mostly words of the language: the commonest words of English abound."""
    common = {"the", "of", "and", "to", "a", "in", "that", "he", "was", "it", "his", "i", "with"}
    with genfast.load() as model:
        text = model.generate("The old man", max_tokens=300, temperature=0.8, seed=1).text
    words = text.lower().replace(",", " ").replace(".", " ").split()
    assert len(words) > 100
    share = sum(word in common for word in words) / len(words)
    assert share > 0.2, text  # English prose: about a third
