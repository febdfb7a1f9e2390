"""OpenVINO: the graph in its own operations, as its converters leave a stateful decoder: a cache
in variables, one scaled dot product a layer, weights compressed and expanded on the way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from engines.source import Source, converted

_GROUP = 64  # divides every shape here; OpenVINO's own tools take 64 or 128


class _Builder:
    """Records one model; every method takes and gives outputs of OpenVINO nodes."""

    def __init__(self, source: Source, fmt: str) -> None:
        import openvino as ov
        from openvino import opset13

        self.ov, self.op, self.source, self.fmt = ov, opset13, source, fmt

    def i64(self, *values: int):
        return self.op.constant(np.array(values, np.int64))

    def f32(self, values):
        return self.op.constant(np.asarray(values, np.float32))

    def packed(self, bits, shape, kind):
        """A constant of a type that numpy has not, from its bits."""
        tensor = self.ov.Tensor(kind, self.ov.Shape(shape))
        np.copyto(tensor.data.view(bits.dtype).reshape(bits.shape), bits)
        return self.op.constant(tensor)

    def weight(self, name: str, logits: bool = False):
        """A matrix [N, K] as f32, stored in the format; like genfast's, int4 keeps int8 logits."""
        op, ov = self.op, self.ov
        fmt = "int8" if self.fmt == "int4" and logits else self.fmt
        if fmt == "bf16":
            bits = self.source.bfloat16(name)
            return op.convert(self.packed(bits, bits.shape, ov.Type.bf16), np.float32)
        matrix = self.source.float32(name)
        if fmt == "f32":
            return op.constant(matrix)
        rows, cols = matrix.shape
        if fmt == "int8":
            scale = np.abs(matrix).max(1, keepdims=True) / 127 + 1e-12
            stored = op.constant(np.rint(matrix / scale).astype(np.int8))
        else:
            matrix = matrix.reshape(rows, cols // _GROUP, _GROUP)
            scale = np.abs(matrix).max(2, keepdims=True) / 7 + 1e-12
            q = np.clip(np.rint(matrix / scale), -8, 7).astype(np.int8).reshape(-1) & 15
            packed = (q[0::2] | q[1::2] << 4).astype(np.uint8)
            stored = self.packed(packed, matrix.shape, ov.Type.i4)
        half = op.multiply(op.convert(stored, np.float16), op.constant(scale.astype(np.float16)))
        if fmt == "int4":
            half = op.reshape(half, self.i64(rows, cols), False)
        return op.convert(half, np.float32)

    def norm(self, x, name: str):
        op = self.op
        mean = op.reduce_mean(op.power(x, self.f32(2)), self.i64(-1), True)
        root = op.sqrt(op.add(mean, self.f32(self.source.config["rms_norm_eps"])))
        scaled = op.multiply(x, op.divide(self.f32(1), root))
        return op.multiply(op.constant(self.source.float32(name)), scaled)

    def matmul(self, x, name: str):
        return self.op.matmul(x, self.weight(name), False, True)

    def heads(self, x, count: int):
        """[B, T, count·D] → [B, count, T, D]"""
        split = self.op.reshape(x, self.i64(0, 0, count, self.source.head_dim), True)
        return self.op.transpose(split, self.i64(0, 2, 1, 3))

    def rotate(self, x, cos, sin):
        op, half = self.op, self.source.head_dim // 2
        low, high = op.variadic_split(x, self.i64(-1), self.i64(half, half)).outputs()
        turned = op.concat([op.multiply(high, self.f32(-1)), low], -1)
        return op.add(op.multiply(x, cos), op.multiply(turned, sin))

    def cached(self, x, name: str, beams, sinks: list):
        """x [B, Hkv, T, D] behind what the variable holds."""
        from openvino.op.util import Variable, VariableInfo

        ov, op = self.ov, self.op
        info = VariableInfo()
        info.variable_id = name
        info.data_type = ov.Type.f32
        dims = [-1, self.source.kv_heads, -1, self.source.head_dim]
        info.data_shape = ov.PartialShape(dims)
        variable = Variable(info)
        shape = op.concat(
            [
                op.shape_of(beams, "i64"),
                self.i64(self.source.kv_heads, 0, self.source.head_dim),
            ],
            0,
        )
        empty = op.broadcast(self.f32(0), shape)
        past = op.gather(op.read_value(empty, variable), beams, self.i64(0))
        whole = op.concat([past, x], 2)
        sinks.append(op.assign(whole, variable))
        return whole

    def repeated(self, x):
        """Each KV head for all the query heads that share it: [B, Hkv, S, D] → [B, H, S, D]"""
        op, s = self.op, self.source
        group = s.heads // s.kv_heads
        if group == 1:
            return x
        wide = op.unsqueeze(x, self.i64(2))
        ones = self.i64(1, 1, group, 1, 1)
        wide = op.broadcast(wide, ones, broadcast_spec="BIDIRECTIONAL")
        return op.reshape(wide, self.i64(0, s.heads, -1, s.head_dim), True)

    def model(self):
        op, ov, s = self.op, self.ov, self.source
        ids = op.parameter([-1, -1], np.int64, name="input_ids")
        positions = op.parameter([-1, -1], np.int64, name="position_ids")
        beams = op.parameter([-1], np.int32, name="beam_idx")
        table = self.weight("model.embed_tokens.weight", logits=True)
        x = op.gather(table, ids, self.i64(0))

        exponents = np.arange(0, s.head_dim, 2) / s.head_dim
        frequencies = self.f32(s.config["rope_theta"] ** -exponents).output(0)
        angles = op.multiply(
            op.convert(op.unsqueeze(positions, self.i64(2)), np.float32), frequencies
        )
        angles = op.unsqueeze(op.concat([angles, angles], -1), self.i64(1))
        cos, sin = op.cos(angles), op.sin(angles)

        sinks: list = []
        for i in range(s.layers):
            layer = f"model.layers.{i}."
            h = self.norm(x, f"{layer}input_layernorm.weight")
            q, k, v = (
                self.heads(self.matmul(h, f"{layer}self_attn.{name}_proj.weight"), count)
                for name, count in (("q", s.heads), ("k", s.kv_heads), ("v", s.kv_heads))
            )
            k = self.cached(self.rotate(k, cos, sin), f"{layer}key", beams, sinks)
            v = self.cached(v, f"{layer}value", beams, sinks)
            out = op.scaled_dot_product_attention(
                self.rotate(q, cos, sin), self.repeated(k), self.repeated(v), causal=True
            )
            merged = op.transpose(out, self.i64(0, 2, 1, 3))
            merged = op.reshape(merged, self.i64(0, 0, s.heads * s.head_dim), True)
            x = op.add(x, self.matmul(merged, f"{layer}self_attn.o_proj.weight"))
            h = self.norm(x, f"{layer}post_attention_layernorm.weight")
            gate = op.swish(self.matmul(h, f"{layer}mlp.gate_proj.weight"))
            up = self.matmul(h, f"{layer}mlp.up_proj.weight")
            down = self.matmul(op.multiply(gate, up), f"{layer}mlp.down_proj.weight")
            x = op.add(x, down)
        last = op.gather(self.norm(x, "model.norm.weight"), self.i64(-1), self.i64(1))
        logits = op.result(op.matmul(last, table, False, True), name="logits")
        return ov.Model([logits], sinks, [ids, positions, beams], "llama")


class Engine:
    FORMATS: ClassVar = {
        "f32": "f32",
        "bf16": "bf16",
        "int8": "int8 weights",
        "int4": f"int4, G {_GROUP}",
    }

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        import openvino as ov

        path = converted(model, work, f"{fmt}.xml")
        if not path.exists():
            source = Source(model)
            partial = path.with_suffix(".partial.xml")
            ov.save_model(_Builder(source, fmt).model(), partial, compress_to_fp16=False)
            partial.with_suffix(".bin").rename(path.with_suffix(".bin"))
            partial.rename(path)
            source.close()
        options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if fmt == "f32":  # or it computes in bf16 where the CPU can; the KV cache stays 8 bits
            options["INFERENCE_PRECISION_HINT"] = "f32"
        self.compiled = ov.Core().compile_model(path, "CPU", options)
        self._request = self.compiled.create_infer_request()

    def _forward(self, ids: list[int], position: int = 0) -> np.ndarray:
        """Logits [V] of the last token, valid until the next call."""
        if position == 0:
            self._request.reset_state()
        inputs = {
            "input_ids": np.array([ids], np.int64),
            "position_ids": np.arange(position, position + len(ids), dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self._request.infer(inputs, share_inputs=True, share_outputs=True)
        return self._request.get_output_tensor(0).data.reshape(-1)

    def logits(self, ids: list[int]) -> np.ndarray:
        return self._forward(ids).astype(np.float32)

    def prefill(self, ids: list[int]) -> float:
        begin = time.perf_counter()
        self._forward(ids)
        return time.perf_counter() - begin

    def decode(self, ids: list[int], n: int) -> float:
        token = int(self._forward(ids).argmax())
        begin = time.perf_counter()
        for step in range(n):
            token = int(self._forward([token], len(ids) + step).argmax())
        return time.perf_counter() - begin

    def close(self) -> None:
        del self._request, self.compiled
