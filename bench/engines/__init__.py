"""Engines that `bench/peers.py` and `bench/quality.py` compare, each behind the same few methods.

An engine is a class in its own module, which imports its package only when it is made:

    Engine(model, fmt, threads, work)   opens the Llama directory `model` in `fmt`, one of the
                                        class's FORMATS; what it converts lies in `work`, once
    logits(ids) -> float32 [V]          at the last position, from an empty cache
    prefill(ids) -> seconds             the prompt, up to the logits of its last token
    decode(ids, n) -> seconds           n greedy steps after the prompt, which is not counted
    close()

FORMATS: what the engine calls each of "f32", "bf16", "int8" and "int4" that it has.
"""

from __future__ import annotations

import importlib

# name: (module, what to install)
ENGINES = {
    "genfast": ("engines.genfast_", "."),
    "llama.cpp": ("engines.llama_cpp_", "llama-cpp-python gguf"),
    "transformers": ("engines.torch_", "torch transformers"),
    "OpenVINO": ("engines.openvino_", "openvino"),
    "CTranslate2": ("engines.ctranslate2_", "ctranslate2"),
}


def engine_class(name: str) -> type:
    return importlib.import_module(ENGINES[name][0]).Engine
