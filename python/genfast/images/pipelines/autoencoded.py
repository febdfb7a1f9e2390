"""Diffusion over the latents of an AutoencoderKL. Rombach et al., 2022 (arXiv 2112.10752)."""

from __future__ import annotations

import numpy as np

from genfast.images.directory import Index
from genfast.images.models._network import Network
from genfast.images.models.autoencoder_kl import AutoencoderKL
from genfast.images.options import Options
from genfast.images.pipelines.diffusion import Diffusion

_TILE = 64  # latents a side that are decoded at once, beyond which memory would grow


class Autoencoded(Diffusion):
    """vae: from pixels to latents, which the scheduler sees scaled, and back."""

    def __init__(self, index: Index) -> None:
        super().__init__(index.directory, index.fields.values, *index.scheduler())
        self.vae = index.network("vae", {"AutoencoderKL": AutoencoderKL})
        self.downscale, self.pixel_channels = self.vae.config.scale, self.vae.config.in_channels

    @property
    def channels(self) -> int:
        """Of a latent."""
        return self.vae.config.latent_channels

    def _check_channels(
        self, network: Network, *, variances: bool = False, beside: int = 0
    ) -> None:
        """LoadError unless `network`, with in_channels and out_channels, is one of these latents.

        variances: it may also answer as many channels again, of variances, which nothing asks for.
        beside: channels that it is given besides.
        """
        expected = f"{self.channels}, as many as the vae's latent_channels"
        answers = (self.channels, 2 * self.channels if variances else self.channels)
        if network.config.in_channels != self.channels + beside:
            network.fields.fail("in_channels", expected)
        if network.config.out_channels not in answers:
            more = ", or twice as many with variances" if variances else ""
            network.fields.fail("out_channels", expected + more)

    def _pixels(self, sample: np.ndarray) -> np.ndarray:
        vae = self.vae.config
        latents = sample / np.float32(vae.scaling_factor) + np.float32(vae.shift_factor)
        return self.vae.decode(latents, tile=_TILE)

    def _encode(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """The likeliest latents: no noise beside the scheduler's."""
        vae = self.vae.config
        mean, _ = self.vae.encode(pixels)
        return (mean - np.float32(vae.shift_factor)) * np.float32(vae.scaling_factor)

    def _kept(self, shape: tuple[int, ...], options: Options) -> tuple[np.ndarray, np.ndarray]:
        """For models that fill in: latents of what the mask keeps of the picture, and the pixels
        that it does not [N, 1, H, W]. ValueError where there is no mask."""
        if options.mask is None:
            raise ValueError("this model needs image and mask: it fills in what is white")
        white = self._white(shape, options)
        kept = self._encode(self._picture(shape, options) * ~white, 0)
        whole = (np.broadcast_to(part, (shape[0], *part.shape[1:])) for part in (kept, white))
        return tuple(whole)
