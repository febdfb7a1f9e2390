"""Engines that `bench/peers.py` and `bench/quality.py` compare, each behind the same few methods.

An engine is a class in its own module, which imports its package only when it is made:

    Engine(model, fmt, threads, work)   opens the Llama directory `model` in `fmt`, one of the
                                        class's FORMATS; what it converts lies in `work`, once
    logits(ids) -> float32 [V]          at the last position, from an empty cache
    all_logits(ids) -> float32 [T, V]   at every position (those that `quality.py` compares)
    prefill(ids) -> seconds             the prompt, up to the logits of its last token
    decode(ids, n) -> seconds           n greedy steps after the prompt, which is not counted
    beams(ids, beams, n) -> seconds     n steps of a beam search after the first one (those that
                                        `beams.py` compares)
    close()

FORMATS: what the engine calls each of "f32", "bf16", "int8" and "int4" that it has.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple


class Origin(NamedTuple):
    """Where an engine comes from: its module here, the modules it imports, how to get them."""

    module: str
    modules: tuple[str, ...]
    install: str

    def engine(self) -> type:
        return importlib.import_module(self.module).Engine


ENGINES = {
    "genfast": Origin("engines.genfast_", ("genfast",), "pip install ."),
    "llama.cpp": Origin(
        "engines.llama_cpp_", ("llama_cpp", "gguf"), "pip install llama-cpp-python gguf"
    ),
    "transformers": Origin(
        "engines.torch_", ("torch", "transformers"), "pip install torch transformers"
    ),
    "OpenVINO": Origin("engines.openvino_", ("openvino",), "pip install openvino"),
    "CTranslate2": Origin("engines.ctranslate2_", ("ctranslate2",), "pip install ctranslate2"),
    "onnxruntime-genai": Origin(
        "engines.ort_genai_",
        ("onnxruntime_genai", "onnx_ir", "torch", "transformers"),
        "pip install onnxruntime-genai onnx-ir torch transformers",
    ),
}


def engine_class(name: str) -> type:
    return ENGINES[name].engine()
