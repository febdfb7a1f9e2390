"""How far a predicted image may go: clipped, or by what it is itself (dynamic thresholding).

Saharia et al., 2022 (arXiv 2205.11487), section 2.3. Field names are those of diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from genfast.config import Fields


@dataclass(frozen=True)
class Bounds:
    """bounds(images) → images within them.

    limit: of plain clipping; 0: there is none. ratio: of numbers in an image that thresholding
    leaves as they are, before the rest is cut off and all are divided by the largest; None: there
    is none. most: that one divides by.
    """

    limit: float = 0.0
    ratio: float | None = None
    most: float = 1.0

    @classmethod
    def from_json(cls, cfg: Fields, *, clip: bool | None) -> Bounds:
        """clip: whether images are clipped where the file is silent; None: they never are."""
        limit = cfg.number("clip_sample_range", 1e-6, 1e6, default=1.0)
        ratio = cfg.number("dynamic_thresholding_ratio", 0, 1, default=0.995)
        most = cfg.number("sample_max_value", 1, 1e6, default=1.0)
        if cfg.bool("thresholding", default=False):
            return cls(ratio=ratio, most=most)
        clips = clip is not None and cfg.bool("clip_sample", default=clip)
        return cls(limit if clips else 0.0)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if self.ratio is not None:
            return np.stack([self._thresholded(image) for image in images])
        return np.clip(images, -self.limit, self.limit) if self.limit else images

    def _thresholded(self, image: np.ndarray) -> np.ndarray:
        largest = np.float32(np.clip(np.quantile(np.abs(image), self.ratio), 1, self.most))
        return np.clip(image, -largest, largest) / largest
