"""CTranslate2: its own specification of a decoder, filled from the directory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from engines.source import Source, converted


def _name(token: int) -> str:
    return ("<unk>", "<s>", "</s>")[token] if token < 3 else str(token)


def _convert(model: Path, path: Path, compute_type: str) -> None:
    from ctranslate2.specs import common_spec, transformer_spec

    source = Source(model)
    cfg = source.config
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        source.layers,
        source.heads,
        activation=common_spec.Activation.SWISH,
        pre_norm=True,
        ffn_glu=True,
        rms_norm=True,
        rotary_dim=0,
        rotary_interleave=False,
        rotary_base=cfg["rope_theta"],
        num_heads_kv=source.kv_heads if source.kv_heads != source.heads else None,
    )
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = source.float32("model.embed_tokens.weight")
    decoder.projection.weight = decoder.embeddings.weight
    decoder.layer_norm.gamma = source.float32("model.norm.weight")
    for i, layer in enumerate(decoder.layer):

        def get(name: str, layer: int = i) -> np.ndarray:
            return source.float32(f"model.layers.{layer}.{name}.weight")

        attention = layer.self_attention
        attention.layer_norm.gamma = get("input_layernorm")
        layer.ffn.layer_norm.gamma = get("post_attention_layernorm")
        attention.linear[0].weight = np.concatenate([get(f"self_attn.{x}_proj") for x in "qkv"])
        attention.linear[1].weight = get("self_attn.o_proj")
        layer.ffn.linear_0.weight = get("mlp.gate_proj")
        layer.ffn.linear_0_noact.weight = get("mlp.up_proj")
        layer.ffn.linear_1.weight = get("mlp.down_proj")
    spec.register_vocabulary([_name(i) for i in range(cfg["vocab_size"])])
    spec.config.layer_norm_epsilon = cfg["rms_norm_eps"]
    spec.validate()
    spec.optimize(quantization=compute_type)
    partial = path.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    spec.save(str(partial))
    partial.rename(path)
    source.close()


class Engine:
    FORMATS: ClassVar = {"f32": "float32", "int8": "int8"}

    def __init__(self, model: Path, fmt: str, threads: int, work: Path) -> None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        import ctranslate2

        path = converted(model, work, f"{fmt}.ct2")
        if not path.exists():
            _convert(model, path, self.FORMATS[fmt])
        self._generator = ctranslate2.Generator(
            str(path), device="cpu", compute_type=self.FORMATS[fmt], intra_threads=threads
        )

    def logits(self, ids: list[int]) -> np.ndarray:
        return self.all_logits(ids)[-1]

    def all_logits(self, ids: list[int]) -> np.ndarray:
        return np.array(self._generator.forward_batch([ids]))[0]

    def _generate(self, ids: list[int], n: int) -> list[float]:
        """When each of n tokens came."""
        times: list[float] = []

        def note(_: object) -> bool:
            times.append(time.perf_counter())
            return False

        self._generator.generate_batch(
            [[_name(i) for i in ids]],
            max_length=n,
            min_length=n,
            include_prompt_in_result=False,
            callback=note,
        )
        if len(times) != n:
            raise RuntimeError(f"asked for {n} tokens, got {len(times)}")
        return times

    def prefill(self, ids: list[int]) -> float:
        begin = time.perf_counter()
        return self._generate(ids, 1)[0] - begin

    def decode(self, ids: list[int], n: int) -> float:
        times = self._generate(ids, n + 1)
        return times[-1] - times[0]

    def beams(self, ids: list[int], beams: int, n: int) -> float:
        def seconds(tokens: int) -> float:
            begin = time.perf_counter()
            (out,) = self._generator.generate_batch(
                [[_name(i) for i in ids]],
                beam_size=beams,
                max_length=tokens,
                min_length=tokens,
                include_prompt_in_result=False,
            )
            if len(out.sequences_ids[0]) != tokens:
                raise RuntimeError(f"asked for {tokens} tokens, got {len(out.sequences_ids[0])}")
            return time.perf_counter() - begin

        first = seconds(1)
        return seconds(n + 1) - first

    def close(self) -> None:
        self._generator.unload_model()
