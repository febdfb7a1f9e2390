"""The norm that test_wkv6.py's and test_wkv7.py's heads end with, and its roundings."""

import numpy as np

EPS32 = float(np.finfo(np.float32).eps)


def head_norm(y: np.ndarray, y_off: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """Of y [H, D], off by y_off: (y - mean) / √(var + eps) of each head, and how far that may be
    off."""
    D = y.shape[-1]
    c = y - y.mean(-1, keepdims=True)
    c_off = y_off + (y_off + (D + 2) * EPS32 * np.abs(y)).mean(-1, keepdims=True)
    c_off = c_off + EPS32 * np.abs(c)
    sd = np.sqrt((c * c).mean(-1, keepdims=True) + eps)
    sd_off = (np.abs(c) * c_off).mean(-1, keepdims=True) / sd + (D + 4) * EPS32 * sd
    n = c / sd
    return n, c_off / sd + np.abs(n) * (sd_off / sd + 3 * EPS32)
