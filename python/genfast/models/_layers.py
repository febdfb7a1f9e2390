"""What decoder layers are made of: weights by name, and the ops they go into.

A model file's `forward` reads like its upstream source: one line a projection or norm. Names are
Hugging Face's, without ".weight" and ".bias".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.weights import PackedWeight, Weights

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "quick_gelu": "quick_gelu",
}

GATE_UP_DOWN = ("gate_proj", "up_proj", "down_proj")


def head_sizes(cfg: Fields, *, kv_default: int | None = None) -> tuple[int, int, int, int]:
    """hidden_size, num_attention_heads, num_key_value_heads and head_dim, checked to fit."""
    hidden = cfg.int("hidden_size", 1, 1 << 17)
    heads = cfg.int("num_attention_heads", 1, 1 << 12)
    kv_heads = cfg.int("num_key_value_heads", 1, heads, default=kv_default or heads)
    if heads % kv_heads:
        cfg.fail("num_key_value_heads", f"a divisor of num_attention_heads = {heads}")
    head_dim = cfg.int("head_dim", 2, 256, default=None)
    if head_dim is None:
        if hidden % heads or hidden // heads > 256:
            cfg.fail("hidden_size", f"1 to 256 times num_attention_heads = {heads}")
        head_dim = hidden // heads
    if head_dim % 2:
        cfg.fail("head_dim" if "head_dim" in cfg else "hidden_size", "an even head dimension")
    return hidden, heads, kv_heads, head_dim


def layer_windows(cfg: Fields, layers: int, usual: Sequence[bool]) -> tuple[int, ...]:
    """How far each layer looks back (0: all the way): `sliding_window` for the layers that
    `layer_types` calls sliding, or, without layer_types, for the `usual` ones."""
    window = cfg.int("sliding_window", 1, 1 << 30, default=0)
    types = cfg.values.get("layer_types")
    if types is None:
        return tuple(window if slides else 0 for slides in usual)
    known = ("full_attention", "sliding_attention")
    if not isinstance(types, list) or len(types) != layers or any(t not in known for t in types):
        cfg.fail("layer_types", f"a list of {layers} of {', '.join(known)}")
    if "sliding_attention" in types and not window:
        cfg.fail("sliding_window", "a number of tokens, as layer_types has sliding layers")
    return tuple(window if t == "sliding_attention" else 0 for t in types)


def alibi_slopes(heads: int) -> np.ndarray:
    """ALiBi's slope of each head: 2^(-8 / n · i), and where the number of heads is no power
    of two, those of the power below and every second of the power above. Press et al., 2021 (arXiv
    2108.12409)."""
    below = 1 << (heads.bit_length() - 1)
    slopes = [2.0 ** (-8 / below * i) for i in range(1, below + 1)]
    slopes += [2.0 ** (-8 / (2 * below) * i) for i in range(1, 2 * (heads - below), 2)]
    return np.array(slopes, np.float32)


class Layers:
    """Records layers into a graph. eps: of every norm."""

    def __init__(self, g: Graph, w: Weights, eps: float) -> None:
        self.g, self.w, self.eps = g, w, eps

    def linear(
        self,
        x: Tensor,
        *names: str,
        rows: int | Sequence[int],
        bias: bool = False,
        gated: bool = False,
        order: Sequence[range] | None = None,
        part: range | None = None,
        quantised: bool = True,
        name: str,
        **options,
    ) -> Tensor:
        """x @ Wᵀ (+ b), several matrices stacked; options: those of `Graph.matmul`."""
        sizes = [rows] if isinstance(rows, int) else list(rows)
        weight = self.w.matrix(
            *(f"{n}.weight" for n in names),
            rows=sizes,
            cols=x.shape[1],
            gated=gated,
            order=order,
            part=part,
            quantised=quantised,
        )
        vector = None
        if bias:
            vector = self.w.vector(*(f"{n}.bias" for n in names), sizes=sizes, order=order)
        return self.g.matmul(x, weight, vector, name=name, **options)

    def rms_norm(self, x: Tensor, weight: str, *, plus: float = 0.0, **options) -> Tensor:
        """plus: what the stored weight lacks (Gemma's is about 0)."""
        vector = self.w.vector(f"{weight}.weight", sizes=[x.shape[1]])
        return self.g.rms_norm(x, vector + np.float32(plus), self.eps, **options)

    def layer_norm(self, x: Tensor, weight: str, *, bias: bool = True, name: str) -> Tensor:
        sizes = [x.shape[1]]
        vector = self.w.vector(f"{weight}.weight", sizes=sizes)
        shift = self.w.vector(f"{weight}.bias", sizes=sizes) if bias else None
        return self.g.layer_norm(x, vector, shift, self.eps, name=name)

    def head_weights(
        self, prefix: str, heads: int, kv_heads: int, head_dim: int, *, plus: float = 0.0
    ) -> np.ndarray:
        """q_norm's weight for each query head, k_norm's for each KV head: [heads + kv_heads, D]."""
        q, k = (self.w.vector(f"{prefix}{x}_norm.weight", sizes=[head_dim]) for x in "qk")
        tiled = np.concatenate([np.tile(q, heads), np.tile(k, kv_heads)])
        return tiled + np.float32(plus)

    def gated_mlp(
        self,
        x: Tensor,
        prefix: str,
        ffn: int,
        activation: str,
        *,
        bias: bool = False,
        fused: bool = False,
        **options,
    ) -> Tensor:
        """down(activation(gate(x)) · up(x)); options: those of the last `matmul`. fused: gate and
        up are one matrix."""
        names, rows, order = [f"{prefix}gate_proj", f"{prefix}up_proj"], [ffn, ffn], None
        if fused:
            names, rows = [f"{prefix}gate_up_proj"], [2 * ffn]
            order = [range(ffn), range(ffn, 2 * ffn)]
        h = self.linear(
            x,
            *names,
            rows=rows,
            bias=bias,
            gated=True,
            order=order,
            activation=activation,
            name="gate_up",
        )
        hidden = x.shape[1]
        return self.linear(
            h, f"{prefix}down_proj", rows=hidden, bias=bias, **{"name": "mlp_out", **options}
        )

    def expert(
        self, prefix: str, hidden: int, ffn: int, names: Sequence[str] = GATE_UP_DOWN
    ) -> tuple[PackedWeight, PackedWeight]:
        """The matrices of one expert for `Graph.moe`; names: of gate, up and down."""
        gate, up, down = (f"{prefix}{n}.weight" for n in names)
        return (
            self.w.matrix(gate, up, rows=[ffn, ffn], cols=hidden, gated=True),
            self.w.matrix(down, rows=[hidden], cols=ffn),
        )

    def stacked_expert(
        self, prefix: str, names: Sequence[str], e: int, experts: int, hidden: int, ffn: int
    ) -> tuple[PackedWeight, PackedWeight]:
        """As `expert`, of number e, where all of a layer are one tensor; names: of gate and up,
        [experts, 2 · ffn, hidden], and of down, [experts, hidden, ffn]."""
        up, down = (f"{prefix}{n}.weight" for n in names)
        return (
            self.w.matrix(
                up,
                rows=[2 * ffn * experts],
                cols=hidden,
                part=range(2 * ffn * e, 2 * ffn * (e + 1)),
                order=[range(ffn), range(ffn, 2 * ffn)],
                stack=experts,
                gated=True,
            ),
            self.w.matrix(
                down,
                rows=[hidden * experts],
                cols=ffn,
                part=range(hidden * e, hidden * (e + 1)),
                stack=experts,
            ),
        )

    def logits(
        self, x: Tensor, table: PackedWeight | None, vocab: int, head: str = "lm_head", bias=False
    ) -> Tensor:
        """Of normed output rows; table: the embedding's where it is tied, else `head` is loaded."""
        self.w.prefix = ""  # the head stands beside the model, not inside it
        if table is None:
            table = self.w.matrix(
                f"{head}.weight", rows=[vocab], cols=x.shape[1], gives_logits=True
            )
        shift = self.w.vector(f"{head}.bias", sizes=[vocab]) if bias else None
        return self.g.matmul(x, table, shift, name="logits")
