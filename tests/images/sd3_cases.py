"""Tiny configs of SD3's transformer; see tools/make_sd3_goldens.py."""

from __future__ import annotations

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


def inputs(height: int, width: int) -> dict[str, tuple[int, ...]]:
    return {
        "sample": (2, 4, height, width),
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
]
