"""The networks that are timed: diffusers' classes by name, what goes into them and how."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Network:
    """names: of the inputs. inputs: random ones for a config. torch: diffusers' answer of a model
    to tensors; genfast: ours, of arrays. module: where genfast has the class."""

    names: tuple[str, ...]
    inputs: Callable[[dict, np.random.Generator], tuple[np.ndarray, ...]]
    torch: Callable[..., Any]
    genfast: Callable[..., np.ndarray]
    module: str


def _unet_inputs(config: dict, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    side = config["sample_size"]
    sample = rng.normal(size=(1, config["in_channels"], side, side))
    text = rng.normal(size=(1, 77, config["cross_attention_dim"]))
    return sample.astype(np.float32), np.array(501), text.astype(np.float32)


def _decoder_inputs(config: dict, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    side = config["sample_size"] >> (len(config["block_out_channels"]) - 1)
    return (rng.normal(size=(1, config["latent_channels"], side, side)).astype(np.float32),)


NETWORKS = {
    "UNet2DConditionModel": Network(
        ("sample", "timestep", "text"),
        _unet_inputs,
        lambda model, *inputs: model(*inputs, return_dict=False)[0],
        lambda model, sample, timestep, text: model(sample, int(timestep), text),
        "genfast.images.models.unet2d_condition",
    ),
    "AutoencoderKL": Network(  # its decoder
        ("latents",),
        _decoder_inputs,
        lambda model, latents: model.decode(latents, return_dict=False)[0],
        lambda model, latents: model.decode(latents),
        "genfast.images.models.autoencoder_kl",
    ),
}


def network_of(model: Path) -> tuple[str, Network]:
    """The class of a directory, and what is known of it."""
    name = json.loads((model / "config.json").read_text())["_class_name"]
    return name, NETWORKS[name]
