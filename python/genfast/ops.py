"""Every kernel, alone, on numpy arrays: for tests, benches and other people's code.

All functions take and return C-contiguous arrays (others are copied), accept ``isa=`` (one of
``genfast.cpu_info()["isas"]``; default: the best, or what ``GENFAST_ISA`` forces) and ``threads=``
(0: all), and raise ``ValueError`` for shapes that do not fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genfast import _core
from genfast.draw_ops import certainty, log_softmax, logprobs, sample, truncate
from genfast.elementwise_ops import (
    bound,
    gelu,
    leaky_relu,
    quick_gelu,
    relu,
    relu2,
    sigmoid,
    silu,
    tanh,
)
from genfast.images import ops as _images
from genfast.images.ops import *  # noqa: F403 - they are documented, and listed, there
from genfast.latent_ops import latent_attention
from genfast.state_ops import causal_conv1d, selective_scan, wkv4, wkv6, wkv7

__all__ = [
    *_images.__all__,
    "attention",
    "bound",
    "causal_conv1d",
    "certainty",
    "embed",
    "gelu",
    "head_matmul",
    "latent_attention",
    "layer_norm",
    "leaky_relu",
    "log_softmax",
    "logprobs",
    "matmul",
    "moe",
    "quick_gelu",
    "relu",
    "relu2",
    "rms_norm",
    "rope",
    "rope_table",
    "route",
    "sample",
    "selective_scan",
    "sigmoid",
    "silu",
    "softmax",
    "swiglu",
    "tanh",
    "truncate",
    "wkv4",
    "wkv6",
    "wkv7",
]


def rms_norm(
    x, weight, eps: float = 1e-5, *, groups: int = 0, isa: str = "", threads: int = 0
) -> np.ndarray:
    """x / sqrt(mean(x², last axis) + eps) · weight.

    x [..., E], weight [E] float32 → [..., E]. Zhang and Sennrich, 2019 (arXiv 1910.07467). groups:
    weight [groups · D] norms so many heads of D numbers, each by itself; what follows is copied.
    """
    return _core.ops.rms_norm(x, weight, eps, groups=groups, isa=isa, threads=threads)


def layer_norm(
    x, weight, bias=None, eps: float = 1e-5, *, groups: int = 0, isa: str = "", threads: int = 0
) -> np.ndarray:
    """(x - mean) / sqrt(var + eps) · weight + bias; mean and (population) var over the last axis.

    x [..., E], weight [E], bias [E] or None, float32 → [..., E]. Ba, Kiros and Hinton, 2016
    (arXiv 1607.06450). groups: as in `rms_norm`.
    """
    return _core.ops.layer_norm(x, weight, bias, eps, groups=groups, isa=isa, threads=threads)


def swiglu(x, activation: str = "silu", *, isa: str = "", threads: int = 0) -> np.ndarray:
    """f(gate)·up, where x holds gate and then up along its last axis.

    x [..., 2F] float32 → [..., F]; f is ``activation``: silu (SwiGLU), gelu, gelu_tanh (GeGLU),
    relu (ReGLU) or none (GLU without a gate function). Shazeer, 2020 (arXiv 2002.05202).
    clamped_silu is gpt-oss's (arXiv 2508.10925): g·σ(1.702 g)·(u + 1), with g = gate up to 7, u =
    up within ±7.
    """
    return _core.ops.swiglu(x, activation, isa=isa, threads=threads)


def softmax(x, log: bool = False, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """Softmax over the last axis, or its logarithm.

    x [..., V] float32 → [..., V]. As in torch a row with NaN or +inf, or of -inf alone, gives NaN.
    """
    return _core.ops.softmax(x, log, isa=isa, threads=threads)


def rope_table(
    positions,
    inv_freq,
    scale: float = 1.0,
    dynamic: tuple[float, float, int] | None = None,
    *,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """Cosines, then sines, of positions · inv_freq, times ``scale``: what `rope` rotates by.

    positions [T] int32, inv_freq [R/2] float32 → [T, R]. ``dynamic`` = (base, factor, length): a
    position at or beyond ``length`` takes dynamic NTK frequencies instead (see genfast.rope, which
    computes these arguments from a config).
    """
    base, factor, length = dynamic or (0.0, 1.0, 0)
    return _core.ops.rope_table(
        positions, inv_freq, scale, base, factor, length, isa=isa, threads=threads
    )


def rope(
    x,
    table,
    head_dim: int,
    heads: int | None = None,
    interleaved: bool = False,
    *,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """Rotates the first R of the D=head_dim numbers of each of the first ``heads`` heads of a row.

    x [..., W] float32, W ≥ heads·D (default: all that fit), table [..., R] from `rope_table`, one
    row for each of x → [..., W]. Pairs are (i, i + R/2) as in Llama, or (2i, 2i + 1) when
    ``interleaved`` as in GPT-J. Su et al., 2021 (arXiv 2104.09864).
    """
    return _core.ops.rope(
        x,
        table,
        -1 if heads is None else heads,
        head_dim,
        interleaved,
        isa=isa,
        threads=threads,
    )


def embed(
    ids,
    table,
    residual=None,
    *,
    scale: float = 1.0,
    format: str = "f32",
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """table[ids] · scale (+ residual).

    ids [T] integers in [0, N); table [N, E], a ``_core.Weight`` or an array, which is packed into
    ``format`` for this call; residual [T, E] float32 → [T, E].
    """
    packed = _packed(table, format, threads)
    return _core.ops.embed(ids, packed, residual, scale=scale, isa=isa, threads=threads)


def matmul(
    x,
    weight,
    bias=None,
    residual=None,
    activation: str = "none",
    *,
    format: str = "f32",
    gated: bool = False,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """activation(x @ weightᵀ + bias) + residual.

    x [..., K] float32; weight [N, K], a ``_core.Weight`` or an array, which is packed into
    ``format`` ("f32", "f16", "bf16", "int8", "int4", "fp8") for this call; bias [N]; residual
    [..., N] → [..., N]. activation: "none", "relu", "silu", "gelu", "gelu_tanh". With int8 and int4
    weights each row of x is quantised to 8 bits, with bf16 and fp8 weights x is rounded to bf16.
    gated: an array holds gate and up [2F, K], and the result is activation(gate) · up + residual
    [..., F].
    """
    packed = _packed(weight, format, threads, gated)
    return _core.ops.matmul(x, packed, bias, residual, activation, isa=isa, threads=threads)


def route(
    logits,
    k: int,
    scoring: str = "softmax",
    bias=None,
    *,
    renormalise: bool = False,
    scale: float = 1.0,
    groups: int = 1,
    kept_groups: int = 1,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """The k experts of each token and their weights.

    logits [T, X], bias [X] float32 → [T, 2k]: numbers of experts, ascending, then weights. scoring:
    "softmax" over all experts, "softmax_of_chosen", or "sigmoid". The largest scores + bias are
    chosen, of the kept_groups best of `groups` groups; weights are scores, divided by their sum if
    `renormalise`, times scale. DeepSeek-AI, 2024 (arXiv 2412.19437).
    """
    return _core.ops.route(
        logits,
        k,
        scoring,
        bias,
        renormalise=renormalise,
        scale=scale,
        groups=groups,
        kept_groups=kept_groups,
        isa=isa,
        threads=threads,
    )


def moe(
    x,
    routes,
    experts,
    residual=None,
    activation: str = "silu",
    *,
    up_bias=None,
    down_bias=None,
    format: str = "f32",
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """A mixture of experts: residual + Σ weight · down(activation(gate(x)) · up(x)).

    x, residual [T, E] float32; routes [T, 2k] from `route`; experts: a pair for each, gate and up
    [2F, E] and down [E, F], ``_core.Weight`` (the first gated) or arrays, which are packed into
    ``format`` for this call; up_bias [experts, 2F] and down_bias [experts, E] → [T, E].
    """
    pack = [(_packed(up, format, threads, True), _packed(w, format, threads)) for up, w in experts]
    return _core.ops.moe(
        x,
        routes,
        pack,
        residual,
        up_bias=up_bias,
        down_bias=down_bias,
        activation=activation,
        isa=isa,
        threads=threads,
    )


def head_matmul(
    x, weights, *, first: int = 0, format: str = "f32", isa: str = "", threads: int = 0
) -> np.ndarray:
    """Every head's part of a row times a matrix of its own.

    x [T, ...] float32, a head's K numbers after the other's from column ``first`` on; weights: for
    each head [N, K], all of one format, as `matmul` takes them → [T, heads · N].
    """
    pack = [_packed(weight, format, threads) for weight in weights]
    return _core.ops.head_matmul(x, pack, first, isa=isa, threads=threads)


def _packed(weight, format: str, threads: int, gated: bool = False) -> _core.Weight:
    """An ndarray [N, K] packed into ``format``; a Weight as it is."""
    if isinstance(weight, _core.Weight):
        return weight
    array = np.ascontiguousarray(weight)
    if array.ndim != 2:
        raise ValueError(f"weight must have shape [N, K], found {list(array.shape)}")
    if array.dtype != np.float16:
        array = np.ascontiguousarray(array, np.float32)
    dtype = "F16" if array.dtype == np.float16 else "F32"
    if gated and len(array) % 2:
        raise ValueError(f"gated: weight must have an even number of rows, found {len(array)}")
    sources = [
        (part.reshape(-1).view(np.uint8), dtype, *part.shape, False)
        for part in (np.split(array, 2) if gated else [array])
    ]
    return _core.Weight(format, sources, threads, gated)


def attention(
    q,
    k,
    v,
    *,
    past_k=None,
    past_v=None,
    scale: float | None = None,
    kv_dtype: str = "float32",
    window: int = 0,
    sinks: int = 0,
    cap: float = 0.0,
    slopes=None,
    sink_logits=None,
    chunk: int = 0,
    pages: Sequence[int] | None = None,
    isa: str = "",
    threads: int = 0,
) -> np.ndarray:
    """Causal attention with grouped heads of one sequence, through a paged cache made for the call.

    q [T, H, D], k and v [T, Hkv, D] float32 (H a multiple of Hkv, D at most 256), past_k and
    past_v [S, Hkv, D]: the tokens before them. Token t sees all of the past and tokens 0 .. t; with
    window > 0 only the last ``window`` of these, and the first ``sinks`` (0 to 32) tokens of all.
    scale: default 1/sqrt(D). cap > 0: scores become cap · tanh(score / cap) (Gemma 2, arXiv
    2408.00118). slopes [H]: a score loses its head's slope for each token of distance (ALiBi, arXiv
    2108.12409). sink_logits [H]: a score more in each softmax, whose value is zero (gpt-oss, arXiv
    2508.10925). kv_dtype: "float32", "bfloat16", "int8" or "fp8" (a scale per token and head) or
    "int4" (a scale per token, head and 32 d); keys and values are rounded to it first.
    chunk > 0: that many tokens a step. pages: the page (32 tokens each) that holds every 32 tokens,
    in any order; default consecutive ones. Neither chunk, pages nor threads changes a bit of the
    result.

    → [T, H, D] float32.
    """
    q, k, v = (_heads(x, name) for x, name in ((q, "q"), (k, "k"), (v, "v")))
    T, H, D = q.shape
    if k.shape[0] != T or k.shape[2] != D or k.shape != v.shape or H % max(k.shape[1], 1):
        raise ValueError(
            f"k and v must both have shape [{T}, Hkv, {D}] with Hkv a divisor of {H}, "
            f"found {list(k.shape)} and {list(v.shape)}"
        )
    if chunk < 0:
        raise ValueError(f"chunk={chunk} must be 0 (all at once) or positive")
    if (past_k is None) != (past_v is None):
        raise ValueError("past_k and past_v must be given together")
    past = 0 if past_k is None else len(past_k)
    if pages is None:
        pages = range((past + T + 31) // 32)
    pages = list(pages)
    if not pages or min(pages) < 0:
        raise ValueError(f"pages={pages} must list at least one page, none negative")
    cache = _core.ops.KvCache(kv_dtype, k.shape[1], D, max(pages) + 1)
    if past:
        cache.append(_heads(past_k, "past_k"), _heads(past_v, "past_v"), pages)
    qkv = np.concatenate([x.reshape(T, -1) for x in (q, k, v)], axis=1)
    out = np.empty((T, H, D), np.float32)
    for row in range(0, T, chunk or max(T, 1)):
        part = qkv[row : row + chunk] if chunk else qkv
        span = (0, len(part), past + row, pages)
        step = cache.attention(
            part,
            [span],
            scale,
            window,
            sinks,
            cap,
            slopes,
            sink_logits,
            isa=isa,
            threads=threads,
        )
        out[row : row + len(part)] = step.reshape(-1, H, D)
    return out


def _heads(x, name: str) -> np.ndarray:
    x = np.ascontiguousarray(x, np.float32)
    if x.ndim != 3:
        raise ValueError(f"{name} must have shape [tokens, heads, D], found {list(x.shape)}")
    return x
