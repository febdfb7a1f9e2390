"""Tiny configs of the families whose ids are of text and of an image's codes."""

from __future__ import annotations

CHAMELEON_COMMON = {
    "vq_config": {
        "embed_dim": 4,
        "num_embeddings": 26,
        "latent_channels": 4,
        "base_channels": 32,
        "channel_multiplier": [1],
        "num_res_blocks": 1,
        "resolution": 4,
    },
    "vocabulary_map": {"<image>": 3},
}
_CODES = {f"IMGIMG{chr(65 + c // 10)}{chr(65 + c % 10)}Z": 20 + c for c in range(26)}
CHAMELEON: dict[str, dict] = {
    "base": {},
    "swin": {"swin_norm": True, "rms_norm_eps": 1e-3, "attention_bias": True, "mlp_bias": True},
    "images": {
        "vocabulary_map": {"<image>": 3, **_CODES},
        "num_key_value_heads": 4,
        "hidden_size": 48,
    },
}
_VQ = {
    "embed_dim": 4,
    "num_embeddings": 24,
    "latent_channels": 4,
    "base_channels": 32,
    "channel_multiplier": [1],
    "num_res_blocks": 1,
    "projection_dim": 32,
    "image_token_embed_dim": 32,
}


def janus(llama: dict) -> dict:
    """llama: the text's config."""
    return {
        "text_config": {"model_type": "llama", **llama, "boi_token_id": 5, "pad_token_id": 2},
        "vision_config": {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 8,
            "patch_size": 4,
            "num_image_tokens": 4,
            "projection_dim": 32,
            "mlp_ratio": 1.0,
        },
        "vq_config": _VQ,
        "vocab_size": 64,
        "tie_word_embeddings": False,
    }


def janus_cases(llama: dict) -> dict[str, dict]:
    text = janus(llama)["text_config"]
    return {
        "base": {},
        "tied": {"tie_word_embeddings": True, "vq_config": {**_VQ, "embed_dim": 8}},
        "grouped": {
            "text_config": {**text, "num_key_value_heads": 1, "rms_norm_eps": 1e-3},
            "vq_config": {**_VQ, "num_hidden_layers": 1},
        },
    }
