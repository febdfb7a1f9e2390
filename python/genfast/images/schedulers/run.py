"""One walk from noise to an image: what every scheduler gives, and what a pipeline drives.

    run = scheduler.run(steps)
    x = run.initial(noise)
    for i in range(run.first, len(run.timesteps)):
        output = model(run.model_input(i, x), run.timesteps[i])
        x = run.step(i, x, output, draw)

Arrays are float32 of any one shape. Coefficients are computed in double, arrays combined in single
precision, element by element, so an image does not depend on the others of its batch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Draw = Callable[[], np.ndarray]  # fresh standard normal numbers, of the sample's shape


class Run:
    """timesteps: what the model is told at each of its calls, as floats.

    first: the call to begin at; above 0 where an image is changed rather than made.
    """

    def __init__(self, timesteps: np.ndarray, first: int = 0) -> None:
        self.timesteps = tuple(float(t) for t in timesteps)
        self.first = first

    def initial(self, noise: np.ndarray) -> np.ndarray:
        """The sample to begin with, from standard normal numbers."""
        return noise

    def noised(self, i: int, image: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """`image` as the sample that call `i` expects; at len(timesteps) the image itself."""
        if i >= len(self.timesteps):
            return image
        scale, sigma = self._mixture(i)
        return combine(scale, image, sigma, noise)

    def _mixture(self, i: int) -> tuple[float, float]:
        """How much of the sample at call `i` is image, and how much noise."""
        raise NotImplementedError

    def model_input(self, i: int, x: np.ndarray) -> np.ndarray:
        """What the model is given for the sample `x`."""
        return x

    def step(self, i: int, x: np.ndarray, output: np.ndarray, draw: Draw) -> np.ndarray:
        """The sample after call `i`, whose answer is `output`. draw: for those that add noise."""
        raise NotImplementedError


def combine(a: float, x: np.ndarray, b: float, y: np.ndarray) -> np.ndarray:
    """a · x + b · y."""
    return np.float32(a) * x + np.float32(b) * y


def image_of(
    prediction: str, x: np.ndarray, output: np.ndarray, alpha: float, sigma: float
) -> np.ndarray:
    """The image that a model's answer implies for x = alpha · image + sigma · noise.

    prediction: whether the model tells the noise, the image, or v = alpha · noise - sigma · image
    (Salimans and Ho, 2022, arXiv 2202.00512).
    """
    if prediction == "epsilon":
        return (x - np.float32(sigma) * output) / np.float32(alpha)
    if prediction == "v_prediction":
        return combine(alpha, x, -sigma, output)
    return output


def noise_of(
    prediction: str, x: np.ndarray, output: np.ndarray, alpha: float, sigma: float
) -> np.ndarray:
    """The noise that a model's answer implies; as `image_of`."""
    if prediction == "sample":
        return (x - np.float32(alpha) * output) / np.float32(sigma)
    if prediction == "v_prediction":
        return combine(alpha, output, sigma, x)
    return output
