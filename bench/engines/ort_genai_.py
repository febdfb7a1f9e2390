"""onnxruntime-genai: exported by its own model builder, which needs torch and transformers."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from engines.source import converted

_PRECISIONS = {"f32": "fp32", "int8": "int8", "int4": "int4"}
_LOGITS = "matmul_mixed_precision=last_matmul:int8"  # as genfast: 4 bits cost too much there


def _stand_in_tokenizer(directory: Path) -> None:
    """The builder insists on a tokenizer, and the random models have none."""
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0}, "unk_token": "<unk>"},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(kind))


def _convert(model: Path, path: Path, fmt: str) -> None:
    partial = path.with_suffix(".partial")
    with tempfile.TemporaryDirectory() as staging:
        staged = Path(staging) / "model"
        staged.mkdir()
        for name in ("config.json", "model.safetensors"):
            (staged / name).symlink_to((model / name).resolve())
        _stand_in_tokenizer(staged)
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", staged]
        command += ["-o", partial, "-p", _PRECISIONS[fmt], "-e", "cpu"]
        command += ["-c", Path(staging) / "cache", "--extra_options", "hf_token=false"]
        if fmt == "int4":
            command += [_LOGITS, "shared_embeddings=false"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the model builder failed:\n{(done.stdout + done.stderr)[-3000:]}")
    partial.rename(path)


class Engine:
    FORMATS: ClassVar = {"f32": "f32", "int8": "int8, G 32", "int4": "int4, G 32"}

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import onnxruntime_genai as og

        path = converted(model, work, f"{fmt}.ort")
        if not path.exists():
            _convert(model, path, fmt)
        self._og = og
        config = og.Config(str(path))
        session = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self._model = og.Model(config)

    def _started(self, ids: list[int], more: int):
        """A generator that has computed the prompt."""
        params = self._og.GeneratorParams(self._model)
        params.set_search_options(
            max_length=len(ids) + more, min_length=len(ids) + more, do_sample=False
        )
        generator = self._og.Generator(self._model, params)
        generator.append_tokens(np.array(ids, np.int32))
        return generator

    def logits(self, ids: list[int]) -> np.ndarray:
        return np.array(self._started(ids, 1).get_logits(), np.float32).reshape(-1)

    def prefill(self, ids: list[int]) -> float:
        begin = time.perf_counter()
        self._started(ids, 1)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], n: int) -> float:
        generator = self._started(ids, n + 1)
        generator.generate_next_token()
        begin = time.perf_counter()
        for _ in range(n):
            generator.generate_next_token()
        return time.perf_counter() - begin

    def close(self) -> None:
        del self._model
