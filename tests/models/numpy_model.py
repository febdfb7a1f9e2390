"""llama and gpt2 in numpy and double precision, as short as they can be said.

Not an oracle (transformers is, by the goldens), but a model whose every rounding can be chosen, by
a `rounding` like `Exact`: to see what a number format does to the logits. Plain rope only.
"""

from __future__ import annotations

import math

import numpy as np


class Exact:
    """No rounding but that of double precision."""

    def table(self, w: np.ndarray, tied: bool) -> np.ndarray:
        """The embedding table [V, E]; tied: it gives the logits too."""
        return w

    def matmul(self, x: np.ndarray, w: np.ndarray, head: bool = False) -> np.ndarray:
        """x [T, K] times w [N, K], transposed; head: the result is the logits."""
        return x @ w.T

    def kv(self, x: np.ndarray) -> np.ndarray:
        """Keys or values on their way into the cache."""
        return x


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    """Causal; q [T, H, D], k and v [T, Hkv, D] → [T, H * D]."""
    T, H, D = q.shape
    group = H // k.shape[1]
    out = np.empty((T, H, D))
    future = np.triu(np.ones((T, T), bool), 1)
    for h in range(H):
        scores = q[:, h] @ k[:, h // group].T * scale
        scores[future] = -np.inf
        out[:, h] = softmax(scores) @ v[:, h // group]
    return out.reshape(T, H * D)


def logits(
    config: dict, tensors: dict[str, np.ndarray], ids: np.ndarray, rounding: Exact | None = None
) -> np.ndarray:
    """[T, V] float64."""
    wide = {name: t.astype(np.float64) for name, t in tensors.items()}
    model = {"llama": llama, "gpt2": gpt2}[config["model_type"]]
    return model(config, wide, ids, rounding or Exact())


def llama(c: dict, w: dict[str, np.ndarray], ids: np.ndarray, r: Exact) -> np.ndarray:
    H = c["num_attention_heads"]
    Hkv = c.get("num_key_value_heads") or H
    D = c.get("head_dim") or c["hidden_size"] // H
    T = len(ids)
    angle = np.arange(T)[:, None] / c["rope_theta"] ** (np.arange(0, D, 2) / D)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + c["rms_norm_eps"]) * w[name]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return r.matmul(x, w[name + ".weight"]) + w.get(name + ".bias", 0)

    def rope(x: np.ndarray) -> np.ndarray:
        a, b = x[..., : D // 2], x[..., D // 2 :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    table = w["model.embed_tokens.weight"]
    head = w.get("lm_head.weight", table)
    x = r.table(table, tied=head is table)[ids]
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        h = norm(x, layer + "input_layernorm.weight")
        q = rope(linear(h, layer + "self_attn.q_proj").reshape(T, H, D))
        k = r.kv(rope(linear(h, layer + "self_attn.k_proj").reshape(T, Hkv, D)))
        v = r.kv(linear(h, layer + "self_attn.v_proj").reshape(T, Hkv, D))
        x = x + linear(attention(q, k, v, D**-0.5), layer + "self_attn.o_proj")
        h = norm(x, layer + "post_attention_layernorm.weight")
        gate = linear(h, layer + "mlp.gate_proj")
        h = gate / (1 + np.exp(-gate)) * linear(h, layer + "mlp.up_proj")
        x = x + linear(h, layer + "mlp.down_proj")
    return r.matmul(norm(x, "model.norm.weight"), head, head=True)


def gpt2(c: dict, w: dict[str, np.ndarray], ids: np.ndarray, r: Exact) -> np.ndarray:
    E, H = c["n_embd"], c["n_head"]
    D, T = E // H, len(ids)

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + c["layer_norm_epsilon"])
        return x * w[name + ".weight"] + w[name + ".bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return r.matmul(x, w[name + ".weight"].T) + w[name + ".bias"]

    table = w["transformer.wte.weight"]
    head = w.get("lm_head.weight", table)
    x = r.table(table, tied=head is table)[ids] + w["transformer.wpe.weight"][:T]
    for i in range(c["n_layer"]):
        layer = f"transformer.h.{i}."
        qkv = linear(norm(x, layer + "ln_1"), layer + "attn.c_attn").reshape(T, 3, H, D)
        out = attention(qkv[:, 0], r.kv(qkv[:, 1]), r.kv(qkv[:, 2]), D**-0.5)
        x = x + linear(out, layer + "attn.c_proj")
        h = linear(norm(x, layer + "ln_2"), layer + "mlp.c_fc")
        h = 0.5 * h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))  # gelu_new
        x = x + linear(h, layer + "mlp.c_proj")
    return r.matmul(norm(x, "transformer.ln_f"), head, head=True)
