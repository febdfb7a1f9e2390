#!/usr/bin/env python3
"""Writes tests/goldens/chain.json: what peers' sampler chains make of some logits.

    python tools/make_chain_goldens.py

Needs torch, transformers and llama-cpp-python; the test does not. From transformers: the scores
after all processors that `generate` itself puts together for the settings, so their order is part
of the golden. From llama.cpp, for what transformers does not have: which tokens a sampler keeps, or
the logits after it. Numbers are float32 in hexadecimal; a token that is dropped has -inf.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).resolve().parents[1] / "tests/goldens/chain.json"
V = 48
NEW_TOKENS = 4

# Keywords as both have them; temperature 0 asks for the processors alone.
TRANSFORMERS: list[dict] = [
    {"temperature": 1.0, "typical_p": 0.3},
    {"temperature": 0.7, "typical_p": 0.9},
    {"temperature": 1.3, "top_k": 20, "top_p": 0.9, "min_p": 0.02, "typical_p": 0.7},
    {"temperature": 0.8, "top_p": 0.95, "typical_p": 0.8, "repetition_penalty": 1.2},
    {"temperature": 0, "no_repeat_ngram_size": 1},
    {"temperature": 0, "no_repeat_ngram_size": 2},
    {"temperature": 0, "no_repeat_ngram_size": 3, "repetition_penalty": 1.5},
    {"temperature": 0, "bad_words_ids": [[5], [1, 2], [2, 1, 7], [0]]},
    {"temperature": 0, "suppress_tokens": [3, 9], "begin_suppress_tokens": [4]},
    {"temperature": 0, "forced_bos_token_id": 6, "begin_suppress_tokens": [7]},
    {"temperature": 0, "forced_eos_token_id": 8, "suppress_tokens": [3]},
    {"temperature": 0, "min_tokens": 2, "bad_words_ids": [[11]], "repetition_penalty": 0.8},
    {
        "temperature": 0.9,
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "bad_words_ids": [[2, 1], [6]],
        "min_tokens": 3,
        "suppress_tokens": [12],
        "top_k": 30,
        "typical_p": 0.9,
    },
]
LLAMA_CPP: list[dict] = [
    *({"top_n_sigma": n} for n in (0.5, 1.0, 2.0)),
    *({"xtc_threshold": t} for t in (0.01, 0.05, 0.1)),
    *({"typical_p": p} for p in (0.2, 0.6, 0.95)),
    *({"max_bits": b} for b in (0.5, 2.0, 4.0, 6.0)),
    *({"dry_multiplier": 0.8, "dry_base": 1.75, "dry_allowed_length": n} for n in (1, 2, 3)),
]


def hexadecimal(scores: np.ndarray) -> str:
    return scores.astype("<f4").tobytes().hex()


def transformers_scores(settings: dict, logits: np.ndarray, prompt: list, output: list):
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=V, **shape, **heads))
    theirs = dict(settings)
    temperature = theirs.pop("temperature")
    if "min_tokens" in theirs:
        theirs["min_new_tokens"] = theirs.pop("min_tokens")
    sampling = {"do_sample": True, "temperature": temperature} if temperature else {}
    config = GenerationConfig(
        eos_token_id=0, max_length=len(prompt) + NEW_TOKENS, top_k=theirs.pop("top_k", 0),
        **theirs, **sampling,
    )  # fmt: skip
    model._prepare_special_tokens(config, kwargs_has_attention_mask=True)
    processors = model._get_logits_processor(config, input_ids_seq_length=len(prompt))
    ids = torch.tensor([prompt + output])
    return processors(ids, torch.tensor(logits)[None])[0].numpy()


def llama_cpp_scores(settings: dict, logits: np.ndarray, context: list) -> np.ndarray:
    import ctypes

    import llama_cpp.llama_cpp as lib

    if "top_n_sigma" in settings:
        sampler = lib.llama_sampler_init_top_n_sigma(settings["top_n_sigma"])
    elif "xtc_threshold" in settings:
        sampler = lib.llama_sampler_init_xtc(1.0, settings["xtc_threshold"], 1, 0)
    elif "typical_p" in settings:
        sampler = lib.llama_sampler_init_typical(settings["typical_p"], 1)
    elif "max_bits" in settings:
        # Its first draw has mu = 2 tau.
        sampler = lib.llama_sampler_init_mirostat_v2(0, settings["max_bits"] / 2, 0.1)
    else:
        names = ("dry_multiplier", "dry_base", "dry_allowed_length")
        values = [settings[name] for name in names]
        sampler = lib.llama_sampler_init_dry(None, *values, len(context), None, 0)
        for token in context:
            lib.llama_sampler_accept(sampler, token)
    tokens = (lib.llama_token_data * V)()
    for i, logit in enumerate(logits):
        tokens[i].id, tokens[i].logit, tokens[i].p = i, float(logit), 0.0
    array = lib.llama_token_data_array(tokens, V, -1, False)
    lib.llama_sampler_apply(sampler, ctypes.byref(array))
    scores = np.full(V, -np.inf, np.float32)
    for i in range(array.size):
        token = array.data[i]
        scores[token.id] = token.logit if "dry_base" in settings else logits[token.id]
    if "top_n_sigma" in settings:  # leaves them in place, at -inf
        for i in range(array.size):
            scores[array.data[i].id] = array.data[i].logit
    lib.llama_sampler_free(sampler)
    return scores


def main() -> None:
    rng = np.random.default_rng(21)
    cases = []
    for settings in TRANSFORMERS:
        bos = "forced_bos_token_id" in settings
        for length, generated in ((1, 0), (1, 1), (9, 0), (9, 1), (9, NEW_TOKENS - 1)):
            if bos and length > 1:
                continue
            logits = (rng.normal(size=V) * 2).astype(np.float32)
            prompt = rng.integers(0, 3, size=length).tolist()
            output = rng.integers(1, 3, size=generated).tolist()
            scores = transformers_scores(settings, logits, prompt, output)
            cases.append(("transformers", settings, prompt, output, logits, scores))
    for settings in LLAMA_CPP:
        for _ in range(3):
            logits = (rng.normal(size=V) * 2).astype(np.float32)
            context = rng.integers(0, 3, size=30).tolist()
            scores = llama_cpp_scores(settings, logits, context)
            cases.append(("llama.cpp", settings, context, [], logits, scores))
    lines = [
        json.dumps(
            {
                "from": source,
                "settings": settings,
                "prompt": prompt,
                "output": output,
                "logits": hexadecimal(logits),
                "scores": hexadecimal(scores),
            }
        )
        for source, settings, prompt, output, logits, scores in cases
    ]
    GOLDEN.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
