"""What the KV cache holds of one layer."""

from __future__ import annotations

from dataclasses import dataclass

from genfast import _core


@dataclass(frozen=True)
class AttentionLayer:
    """What one attention instruction keeps in the KV cache: keys and values of its heads; or, where
    latent > 0, one row of head_dim numbers a token, the first `latent` of which are values too."""

    kv_heads: int
    head_dim: int
    latent: int = 0

    def layout(self, kv_dtype: str) -> _core.KvLayout:
        if self.latent:
            return _core.KvLayout.latent(kv_dtype, self.latent, self.head_dim - self.latent)
        return _core.KvLayout(kv_dtype, self.kv_heads, self.head_dim)
