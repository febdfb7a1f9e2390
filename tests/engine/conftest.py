"""A tiny random llama, opened once, for tests that care about the engine and not the model."""

from __future__ import annotations

import numpy as np
import pytest

import genfast
import tiny_model

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 100,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny_llama")
    return tiny_model.write_model(directory, CONFIG, seed=7)


@pytest.fixture(scope="module")
def tiny(tiny_dir):
    with genfast.load(tiny_dir) as model:
        yield model


LETTERS = {
    **CONFIG,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 12,  # three more than its tokenizer knows
    "max_position_embeddings": 512,
}


@pytest.fixture(scope="session")
def letters_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("letters")
    tiny_model.write_letters(directory, "abcdefgh")
    return tiny_model.write_model(directory, LETTERS, seed=3)


@pytest.fixture(scope="module")
def letters(letters_dir):
    """A random model whose tokens are the letters a to h, and an end token."""
    with genfast.load(letters_dir) as model:
        yield model


@pytest.fixture
def prompts(rng):
    """Random prompts of random lengths, some across the borders of pages."""
    lengths = [1, 2, 31, 32, 33, 70, 130]
    return [rng.integers(0, CONFIG["vocab_size"], n).tolist() for n in lengths]


@pytest.fixture
def prompt(rng):
    return np.asarray(rng.integers(0, CONFIG["vocab_size"], 20)).tolist()
