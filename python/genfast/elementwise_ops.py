"""The kernels that work number by number; `genfast.ops` has them all."""

from __future__ import annotations

import numpy as np

from genfast import _core


def gelu(x, approximate: str = "none", *, isa: str = "", threads: int = 0) -> np.ndarray:
    """x·Φ(x), element by element; ``approximate="tanh"``: the form of GPT-2,
    0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).

    x [...] float32 → [...]. Hendrycks and Gimpel, 2016 (arXiv 1606.08415).
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f'approximate={approximate!r} must be "none" or "tanh"')
    kind = "gelu_tanh" if approximate == "tanh" else "gelu"
    return _core.ops.activation(x, kind, isa=isa, threads=threads)


def silu(x, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """x / (1 + e⁻ˣ), element by element. x [...] float32 → [...]."""
    return _core.ops.activation(x, "silu", isa=isa, threads=threads)


def bound(x, limit: float, soft: bool = False, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """x [...] float32 kept within ±limit; soft: limit · tanh(x / limit) (arXiv 2408.00118)."""
    return _core.ops.bound(x, limit, soft, isa=isa, threads=threads)


def relu(x, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """max(x, 0), element by element. x [...] float32 → [...]."""
    return _core.ops.activation(x, "relu", isa=isa, threads=threads)


def quick_gelu(x, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """x / (1 + e^(−1.702 x)), CLIP's form of gelu. x [...] float32 → [...]."""
    return _core.ops.activation(x, "quick_gelu", isa=isa, threads=threads)


def tanh(x, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """tanh(x), element by element. x [...] float32 → [...]."""
    return _core.ops.activation(x, "tanh", isa=isa, threads=threads)


def leaky_relu(x, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """x, but 0.2 · x below zero (the slope of GANs). x [...] float32 → [...]."""
    return _core.ops.activation(x, "leaky_relu", isa=isa, threads=threads)


def relu2(x, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """max(x, 0)², element by element (arXiv 2109.08668). x [...] float32 → [...]."""
    return _core.ops.activation(x, "relu2", isa=isa, threads=threads)


def sigmoid(x, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """1 / (1 + e⁻ˣ), element by element. x [...] float32 → [...]."""
    return _core.ops.activation(x, "sigmoid", isa=isa, threads=threads)
