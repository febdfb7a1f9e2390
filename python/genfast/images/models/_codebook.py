"""The codes of a VQ-VAE: latents become the nearest of them."""

from __future__ import annotations

import numpy as np

from genfast import ops


class Codebook:
    """codes [K, L], float32."""

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = np.ascontiguousarray(codes)

    def nearest(self, latents: np.ndarray) -> np.ndarray:
        """The code nearest to each latent, the lower of two: [N, L, h, w] → [N, h, w]."""
        pixels = np.moveaxis(np.asarray(latents, np.float32), 1, -1)
        # Not NumPy's product, whose sums depend on how many latents there are.
        products = ops.matmul(np.ascontiguousarray(pixels), self.codes)
        return ((self.codes**2).sum(1) - 2 * products).argmin(-1)

    def latents(self, indices: np.ndarray) -> np.ndarray:
        """[N, h, w] → [N, L, h, w]; ValueError for what is no code."""
        indices = np.asarray(indices)
        if indices.ndim != 3 or indices.dtype.kind not in "iu":
            raise ValueError(
                f"expected codes [N, h, w] as ints, found {indices.dtype} {list(indices.shape)}"
            )
        if indices.size and not (indices.min() >= 0 and indices.max() < len(self.codes)):
            raise ValueError(
                f"codes from {indices.min()} to {indices.max()}; allowed: 0 to "
                f"{len(self.codes) - 1}"
            )
        return np.moveaxis(self.codes[indices], -1, 1)
