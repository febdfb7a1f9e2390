"""The kernels with recurrent state, alone, on numpy arrays; `genfast.ops` has them too.

All take the rows of several sequences side by side: `lengths`, one sequence by default. They give
the state after the last row of each, [sequences, …], which the next call takes; None: all begin.
How a state is laid out is the kernel's own affair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genfast import _core


def causal_conv1d(
    x,
    weight,
    bias=None,
    state=None,
    *,
    lengths: Sequence[int] | None = None,
    activation: str = "none",
    isa: str = "",
    threads: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """f(bias + Σₖ weight[k] · x[t - (W - 1) + k]), each channel by itself; x is 0 before the start.

    x [T, C], weight [W, C] (W 2 to 8), bias [C] float32 → [T, C] and the state. activation: "none"
    or "silu".
    """
    return _core.ops.causal_conv1d(
        x, weight, bias, state, lengths, activation, isa=isa, threads=threads
    )


def selective_scan(
    x,
    dt,
    A,
    B,
    C,
    D,
    dt_bias=None,
    z=None,
    state=None,
    *,
    lengths: Sequence[int] | None = None,
    dt_limits: tuple[float, float] = (0.0, float("inf")),
    isa: str = "",
    threads: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence of Mamba and Mamba 2: token after token, with d = softplus(dt + dt_bias),

        S = exp(d · A) · S + d · x · B        out = (Σₙ S · C + D · x) · silu(z)

    x, z [T, H, P] float32: H heads of P channels, each channel with a state S of N numbers. B, C
    [T, G, N], each for H / G heads; D [H·P]. Mamba 2 (arXiv 2405.21060): A [H], dt [T, H], dt_bias
    [H]. Mamba (arXiv 2312.00752): A [N, H·P], dt [T, H·P], dt_bias [H·P]. dt_limits: d is kept
    within them. → [T, H, P] and the state.
    """
    return _core.ops.selective_scan(
        x, dt, A, B, C, D, dt_bias, z, state, lengths, *dt_limits, isa=isa, threads=threads
    )


def wkv4(
    k,
    v,
    w,
    u,
    state=None,
    *,
    lengths: Sequence[int] | None = None,
    isa: str = "",
    threads: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The attention of RWKV 4 (arXiv 2305.13048): for token t of each channel, the mean of v[i] for
    i ≤ t, weighted by e^(k[i] + (t - 1 - i) · w), and token t itself by e^(k[t] + u).

    k, v [T, C], w (at most 0), u [C] float32 → [T, C] and the state.
    """
    return _core.ops.wkv4(k, v, w, u, state, lengths, isa=isa, threads=threads)


def wkv6(
    r,
    k,
    v,
    g,
    w,
    u,
    weight,
    bias,
    eps: float,
    state=None,
    *,
    lengths: Sequence[int] | None = None,
    isa: str = "",
    threads: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence of RWKV 5 and 6 (arXiv 2404.05892): token after token, for each head,

        y = rᵀ · (S + diag(u) · k vᵀ)       S = diag(exp(-exp(w))) · S + k vᵀ
        out = (norm(y) · weight + bias) · g

    norm: to mean 0 and variance 1 over the head, eps being added to the variance. r, k, v, g
    [T, H, D] float32, D at most 256; w [T, H, D] or, for all tokens, [H · D]; u, weight, bias
    [H · D]. → [T, H, D] and the state.
    """
    return _core.ops.wkv6(
        *(r, k, v, g, w, u, weight, bias, eps, state, lengths), isa=isa, threads=threads
    )


def wkv7(
    r,
    w,
    k,
    v,
    a,
    g,
    k_k,
    k_a,
    r_k,
    weight,
    bias,
    eps: float,
    v_first=None,
    m=None,
    state=None,
    *,
    lengths: Sequence[int] | None = None,
    isa: str = "",
    threads: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """The recurrence of RWKV 7 (arXiv 2503.14456): token after token, for each head,

        decay = exp(-e^-½ · σ(w))       q = k · k_k / max(|k · k_k|, 1e-12)
        u = v + (v_first - v) · σ(m)    key = k · (1 + (σ(a) - 1) · k_a)
        S = diag(decay) · S - (q · σ(a)) (qᵀ · S) + key uᵀ      y = rᵀ · S
        out = (norm(y) · weight + bias + (Σ r · key · r_k) · u) · g

    norm: to mean 0 and variance 1 over the head, eps being added to the variance. r, w, k, v, a, g,
    v_first, m [T, H, D] float32, D at most 256; k_k, k_a, r_k, weight, bias [H · D]. Without
    v_first and m, u = v. → [T, H, D] and the state.
    """
    return _core.ops.wkv7(
        *(r, w, k, v, a, g, k_k, k_a, r_k, weight, bias, eps, v_first, m, state, lengths),
        isa=isa,
        threads=threads,
    )
