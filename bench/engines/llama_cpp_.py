"""llama.cpp through llama-cpp-python's C API; GGUF written here, quantised by llama.cpp itself."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from engines.source import Source, converted

_QUANTISED = {"int8": "LLAMA_FTYPE_MOSTLY_Q8_0", "int4": "LLAMA_FTYPE_MOSTLY_Q4_0"}
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _rope_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k in the order of llama.cpp, which rotates neighbours, not halves of a head."""
    rows, cols = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, cols)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, cols)


def write_gguf(source: Source, path: Path, fmt: str) -> None:
    """The model without a tokenizer, matrices in f32 or bf16."""
    import gguf

    cfg = source.config
    partial = path.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_context_length(cfg["max_position_embeddings"])
    writer.add_embedding_length(cfg["hidden_size"])
    writer.add_block_count(source.layers)
    writer.add_feed_forward_length(cfg["intermediate_size"])
    writer.add_head_count(source.heads)
    writer.add_head_count_kv(source.kv_heads)
    writer.add_rope_dimension_count(source.head_dim)
    writer.add_rope_freq_base(cfg["rope_theta"])
    writer.add_layer_norm_rms_eps(cfg["rms_norm_eps"])
    writer.add_vocab_size(cfg["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    bf16 = gguf.GGMLQuantizationType.BF16

    def add(name: str, tensor: str, heads: int = 0) -> None:
        if tensor.endswith("norm.weight") or fmt == "f32":
            value, raw = source.float32(tensor), None
        else:
            value, raw = source.bfloat16(tensor), bf16
        if heads:
            value = _rope_order(value, heads)
        writer.add_tensor(name, value.view(np.uint8) if raw else value, raw_dtype=raw)

    add("token_embd.weight", "model.embed_tokens.weight")
    add("output_norm.weight", "model.norm.weight")
    rotated = {"attn_q": source.heads, "attn_k": source.kv_heads}
    for layer in range(source.layers):
        for ours, theirs in _NAMES.items():
            tensor = f"model.layers.{layer}.{ours}.weight"
            add(f"blk.{layer}.{theirs}.weight", tensor, rotated.get(theirs, 0))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


class Engine:
    FORMATS: ClassVar = {"f32": "F32", "bf16": "BF16", "int8": "Q8_0", "int4": "Q4_0"}

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import llama_cpp

        self._api = llama_cpp
        self._log: list[str] = []
        self._log_callback = llama_cpp.llama_log_callback(self._keep)  # lives as long as this
        llama_cpp.llama_log_set(self._log_callback, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._check_isa()
        path = self._file(model, fmt, work)
        self.weight_bytes = path.stat().st_size
        params = llama_cpp.llama_model_default_params()
        self._model = self._made(
            llama_cpp.llama_model_load_from_file(str(path).encode(), params), f"loading {path}"
        )
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = 2048
        params.n_threads = params.n_threads_batch = threads
        params.n_outputs_max = params.n_outputs_max_per_seq = 0  # as many as a batch has
        self._context = self._made(
            llama_cpp.llama_init_from_model(self._model, params), f"a context for {path}"
        )
        vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(vocabulary)

    def _check_isa(self) -> None:
        """Beside a genfast that is forced to AVX2 only a build for AVX2 is a peer."""
        built = self._api.llama_print_system_info().decode()
        if os.environ.get("GENFAST_ISA") == "avx2" and "AVX512 = 1" in built:
            raise RuntimeError(f"this llama.cpp was built for AVX-512: {built}")

    def _keep(self, level: int, text: bytes, _: object) -> None:
        self._log.append(text.decode(errors="replace"))

    def _made(self, handle, what: str):
        if not handle:
            raise RuntimeError(f"llama.cpp failed at {what}:\n" + "".join(self._log[-30:]))
        return handle

    def _file(self, model: Path, fmt: str, work: Path) -> Path:
        path = converted(model, work, f"{fmt}.gguf")
        if path.exists():
            return path
        if fmt in _QUANTISED:
            source = self._file(model, "f32", work)
            params = self._api.llama_model_quantize_default_params()
            params.ftype = getattr(self._api, _QUANTISED[fmt])
            partial = path.with_suffix(".partial")
            code = self._api.llama_model_quantize(
                str(source).encode(), str(partial).encode(), ctypes.byref(params)
            )
            self._made(code == 0, f"quantising {source}")
            partial.rename(path)
        else:
            source = Source(model)
            write_gguf(source, path, fmt)
            source.close()
        return path

    def _forward(self, ids: list[int], fresh: bool = True) -> np.ndarray:
        """Logits [V] of the last token, valid until the next call."""
        if fresh:
            self._api.llama_memory_clear(self._api.llama_get_memory(self._context), True)
        tokens = (self._api.llama_token * len(ids))(*ids)
        code = self._api.llama_decode(
            self._context, self._api.llama_batch_get_one(tokens, len(ids))
        )
        self._made(code == 0, f"llama_decode, code {code}")
        at = self._api.llama_get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(at, (self._vocabulary,))

    def logits(self, ids: list[int]) -> np.ndarray:
        return self._forward(ids).copy()

    def all_logits(self, ids: list[int]) -> np.ndarray:
        """float32 [T, V], for at most 2048 tokens."""
        api, count = self._api, len(ids)
        api.llama_memory_clear(api.llama_get_memory(self._context), True)
        batch = api.llama_batch_init(count, 0, 1)
        for i, token in enumerate(ids):
            batch.token[i], batch.pos[i], batch.logits[i] = token, i, 1
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
        batch.n_tokens = count
        code = api.llama_decode(self._context, batch)
        api.llama_batch_free(batch)
        self._made(code == 0, f"llama_decode, code {code}")
        at = api.llama_get_logits(self._context)
        return np.ctypeslib.as_array(at, (count, self._vocabulary)).copy()

    def prefill(self, ids: list[int]) -> float:
        begin = time.perf_counter()
        self._forward(ids)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], n: int) -> float:
        token = int(self._forward(ids).argmax())
        begin = time.perf_counter()
        for _ in range(n):
            token = int(self._forward([token], fresh=False).argmax())
        return time.perf_counter() - begin

    def close(self) -> None:
        self._api.llama_free(self._context)
        self._api.llama_model_free(self._model)
