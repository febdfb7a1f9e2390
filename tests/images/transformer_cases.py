"""Tiny configs of diffusion transformers; see tools/make_transformer_goldens.py."""

from __future__ import annotations

import numpy as np

from networks import Case

SD3 = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 3,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "joint_attention_dim": 20,
    "caption_projection_dim": 24,
    "pooled_projection_dim": 10,
    "pos_embed_max_size": 6,
}
FLUX = {
    "in_channels": 16,
    "num_layers": 2,
    "num_single_layers": 2,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 20,
    "pooled_projection_dim": 10,
    "axes_dims_rope": [4, 6, 6],
}
PIXART = {
    "sample_size": 8,
    "in_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 12,
    "num_attention_heads": 2,
    "cross_attention_dim": 24,
    "caption_channels": 20,
}
GUIDANCE = 3.5  # of models that are told it
SEEN = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], bool)  # tokens that are no padding
SIZE = (64, 48)  # height and width in pixels, of models that are told them


def inputs(height: int, width: int, channels: int = 4) -> dict[str, tuple[int, ...]]:
    return {
        "sample": (2, channels, height, width),
        "encoder_hidden_states": (2, 5, 20),
        "pooled_projections": (2, 10),
    }


CASES = [
    Case("SD3Transformer2DModel", "base", SD3, inputs(8, 8)),
    Case(
        "SD3Transformer2DModel",
        "dual",
        {**SD3, "qk_norm": "rms_norm", "dual_attention_layers": [0, 1]},
        inputs(12, 6),
    ),
    Case("FluxTransformer2DModel", "schnell", FLUX, inputs(4, 3, 16)),
    Case(
        "FluxTransformer2DModel",
        "dev",
        {**FLUX, "guidance_embeds": True, "out_channels": 8, "num_single_layers": 1},
        inputs(2, 5, 16),
    ),
    Case(
        "PixArtTransformer2DModel",
        "alpha",
        {**PIXART, "use_additional_conditions": True},
        inputs(8, 8),
    ),
    Case(
        "PixArtTransformer2DModel",
        "sigma",
        {**PIXART, "interpolation_scale": 2, "out_channels": 4, "attention_bias": False},
        inputs(12, 6),
    ),
    Case(
        "PixArtTransformer2DModel",
        "unprojected",
        {**PIXART, "caption_channels": None, "cross_attention_dim": 20, "norm_eps": 1e-5},
        inputs(4, 4),
    ),
]
