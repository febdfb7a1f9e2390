"""Which pipeline opens which directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from genfast.config import Fields, read_object
from genfast.images import schedulers
from genfast.images.directory import Index, LoadOptions
from genfast.images.models._network import Network
from genfast.images.models.biggan import BigGAN
from genfast.images.models.dcgan import DCGAN
from genfast.images.models.label_dit import LabelDiT
from genfast.images.models.stylegan2 import StyleGAN2
from genfast.images.models.unet2d import UNet2DModel
from genfast.images.pipelines.classes import ClassDiffusion
from genfast.images.pipelines.flux import Flux, FluxFill
from genfast.images.pipelines.gan import GAN
from genfast.images.pipelines.janus import open_janus
from genfast.images.pipelines.labelled import PixelDiffusion
from genfast.images.pipelines.latent import (
    LatentDiffusion,
    open_consistency,
    open_inpainting,
    open_xl,
    open_xl_inpainting,
)
from genfast.images.pipelines.pixart import PixArt, PixArtSigma
from genfast.images.pipelines.sd3 import StableDiffusion3
from genfast.images.pipelines.tokens import open_tokens


def open_pixels(index: Index) -> PixelDiffusion:
    """DDPM and its like: a UNet over pixels."""
    scheduler, fields = index.scheduler()
    model = index.network("unet", {"UNet2DModel": UNet2DModel})
    config = model.config
    if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
        model.fields.fail("in_channels", f"1 or 3, and as out_channels = {config.out_channels}")
    size = model.fields.ints("sample_size", 1, 1 << 14, most=2)
    return PixelDiffusion(
        index.directory,
        index.fields.values,
        scheduler,
        fields,
        model,
        classes=config.classes,
        channels=config.in_channels,
        side=(size[0], size[-1]),
        multiple=1 << (len(config.channels) - 1),
    )


def open_label_dit(directory: Path, options: LoadOptions) -> PixelDiffusion:
    model = LabelDiT(directory, **options.keywords())
    fields = Fields({"clip_sample": False}, directory / "config.json")
    pipeline = PixelDiffusion(
        directory,
        read_object(directory / "config.json"),
        schedulers.from_fields(fields, "DDPMScheduler"),
        fields,
        model,
        classes=model.config.labels,
        channels=model.config.channels,
        side=(model.config.size, model.config.size),
        multiple=None,
    )
    pipeline.steps = 1000
    return pipeline


def open_gan(kind: type[Network]) -> Callable[[Path, LoadOptions], GAN]:
    def opened(directory: Path, options: LoadOptions) -> GAN:
        model = kind(directory, **options.keywords())
        return GAN(directory, read_object(directory / "config.json"), model)

    return opened


INDEXED: dict[str, Any] = {
    "DDPMPipeline": open_pixels,
    "DDIMPipeline": open_pixels,
    "PNDMPipeline": open_pixels,
    "StableDiffusionPipeline": LatentDiffusion,
    "StableDiffusionImg2ImgPipeline": LatentDiffusion,
    "StableDiffusionInpaintPipeline": open_inpainting,
    "StableDiffusionXLPipeline": open_xl,
    "StableDiffusionXLImg2ImgPipeline": open_xl,
    "StableDiffusionXLInpaintPipeline": open_xl_inpainting,
    "LatentConsistencyModelPipeline": open_consistency,
    "StableDiffusion3Pipeline": StableDiffusion3,
    "StableDiffusion3Img2ImgPipeline": StableDiffusion3,
    "StableDiffusion3InpaintPipeline": StableDiffusion3,
    "FluxPipeline": Flux,
    "FluxImg2ImgPipeline": Flux,
    "FluxInpaintPipeline": Flux,
    "FluxFillPipeline": FluxFill,
    "PixArtAlphaPipeline": PixArt,
    "PixArtSigmaPipeline": PixArtSigma,
    "DiTPipeline": ClassDiffusion,
    "ImageTokensPipeline": open_tokens,
}
LONE: dict[str, Any] = {
    "biggan": open_gan(BigGAN),
    "dcgan": open_gan(DCGAN),
    "janus": open_janus,
    "label_dit": open_label_dit,
    "stylegan2": open_gan(StyleGAN2),
}
