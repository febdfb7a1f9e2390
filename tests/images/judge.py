"""A classifier of 8×8 digits, trained by tools/train_gallery.py, in NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_WEIGHTS = dict(np.load(Path(__file__).resolve().parents[1] / "goldens/digits_judge.npz"))


def digits(images: np.ndarray) -> np.ndarray:
    """What images [N, 8, 8] in [0, 1] show, [N]."""
    x = images.reshape(len(images), 64) * 2 - 1
    hidden = np.maximum(x @ _WEIGHTS["w0"].T + _WEIGHTS["b0"], 0)
    return (hidden @ _WEIGHTS["w1"].T + _WEIGHTS["b1"]).argmax(1)


def shrunk(images: np.ndarray) -> np.ndarray:
    """[N, 28, 28] in [0, 1] of MNIST's kind as the 8×8 of scikit-learn's: what the digit covers,
    made to fill the square as theirs do."""
    small = []
    for image in images:
        rows, cols = (np.flatnonzero((image > 0.3).any(axis)) for axis in (1, 0))
        cut = image[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        side = max(cut.shape)
        square = np.zeros((side, side), np.float32)
        top, left = ((side - n) // 2 for n in cut.shape)
        square[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
        edges = np.linspace(0, side, 9)
        fine = square.repeat(8, axis=0).repeat(8, axis=1)
        at = np.round(edges * 8).astype(int)
        small.append(
            [
                [fine[at[i] : at[i + 1], at[j] : at[j + 1]].mean() for j in range(8)]
                for i in range(8)
            ]
        )
    return np.array(small, np.float32)
