"""RWKV 7 (Goose): no attention, a state that every token decays, corrects and adds to.

Peng et al., 2025 (arXiv 2503.14456); upstream: flash-linear-attention's modeling_rwkv7.py, whose
names and config it has, and BlinkDL's rwkv package.
"""

from __future__ import annotations

from dataclasses import dataclass

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models._layers import Layers
from genfast.models._rwkv import Shifted
from genfast.models._state_space import ENDLESS
from genfast.weights import Weights


@dataclass(frozen=True)
class Config:
    vocab_size: int
    hidden: int
    heads: int
    head_dim: int
    ffn: int
    layers: int
    context: int
    ranks: dict[str, int]  # of the low-rank projections, by the letter of what they give
    eps: float
    norm_bias: bool
    tied: bool

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        hidden = cfg.int("hidden_size", 1, 1 << 17)
        layers = cfg.int("num_hidden_layers", 1, 1 << 10)
        if cfg.values.get("head_dim", 64) is not None:
            head_dim = cfg.int("head_dim", 1, 256, default=64)
        else:
            head_dim = hidden // cfg.int("num_heads", 1, hidden)
        if hidden % head_dim or head_dim > 256:
            cfg.fail("head_dim", f"at most 256, and a divisor of hidden_size = {hidden}")
        if cfg.values.get("value_dim") not in (None, hidden, [hidden] * layers):
            cfg.fail("value_dim", f"hidden_size = {hidden}, which all published ones have")
        if cfg.values.get("attn") is not None:
            cfg.fail("attn", "null: no published model has layers of attention")
        if not cfg.bool("norm_first", default=True):
            cfg.fail("norm_first", "true, which all published ones have")
        cfg.str_choice("hidden_act", ("sqrelu",), default="sqrelu")
        ffn = -(-int(hidden * cfg.number("hidden_ratio", 0, 64, default=4.0)) // 32) * 32
        return cls(
            vocab_size=cfg.int("vocab_size", 1, 1 << 22),
            hidden=hidden,
            heads=hidden // head_dim,
            head_dim=head_dim,
            ffn=cfg.int("intermediate_size", 1, 1 << 20, default=max(ffn, 32)),
            layers=layers,
            context=ENDLESS,
            ranks={
                letter: cfg.int(f"{name}_low_rank_dim", 1, 1 << 14)
                for letter, name in (("w", "decay"), ("a", "a"), ("v", "v"), ("g", "gate"))
            },
            eps=cfg.number("norm_eps", 0, 1, default=1e-5),
            norm_bias=cfg.bool("norm_bias", default=True),
            tied=cfg.bool("tie_word_embeddings", default=False),
        )


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    w.use_prefix("model.", "norm.weight")
    layers = Layers(g, w, cfg.eps)

    def norm(x: Tensor, weight: str, name: str) -> Tensor:
        return layers.layer_norm(x, weight, bias=cfg.norm_bias, name=name)

    table = w.embedding("embeddings.weight", cfg.vocab_size, cfg.hidden, tied=cfg.tied)
    x = norm(g.embed(g.token_ids, table), "layers.0.pre_norm", "embed_norm")
    first = None
    for i in range(cfg.layers):
        p = f"layers.{i}."
        with g.scope(f"layers.{i}"):
            h = Shifted(g, norm(x, f"{p}attn_norm", "time_norm"))
            x, first = time_mix(layers, cfg, h, f"{p}attn.", x, first)
            h = Shifted(g, norm(x, f"{p}ffn_norm", "channel_norm"))
            h = h.mixed(w.vector(f"{p}ffn.x_k", sizes=[cfg.hidden]), "k")
            h = layers.linear(h, f"{p}ffn.key", rows=cfg.ffn, activation="relu2", name="key")
            x = layers.linear(h, f"{p}ffn.value", rows=cfg.hidden, residual=x, name="channel_out")
    x = norm(g.output_rows(x), "norm", "final_norm")
    return layers.logits(x, table if cfg.tied else None, cfg.vocab_size)


def time_mix(
    layers: Layers, cfg: Config, h: Shifted, p: str, residual: Tensor, first: Tensor | None
) -> tuple[Tensor, Tensor]:
    """residual + what the heads make of normed rows h, and the first layer's values, which are
    `first` in those that follow."""
    w, hidden = layers.w, cfg.hidden
    mixes = {n: w.array(f"{p}x_{n}", 1, 1, hidden).reshape(-1) for n in "rwkvag"}
    x = {n: h.mixed(mix, n) for n, mix in mixes.items()}

    def low_rank(n: str, activation: str = "none") -> Tensor:
        """Never quantised: it is small, and decides what a state keeps."""
        inner = layers.linear(
            x[n],
            f"{p}{n}_lora.lora.0",
            rows=cfg.ranks[n],
            activation=activation,
            quantised=False,
            name=f"{n}_low",
        )
        outer = f"{p}{n}_lora.lora.2"
        return layers.linear(inner, outer, rows=hidden, bias=n != "g", quantised=False, name=n)

    r, k, v = (layers.linear(x[n], f"{p}{n}_proj", rows=hidden, name=n) for n in "rkv")
    columns = [r, low_rank("w", "tanh"), k, v, low_rank("a"), low_rank("g", "sigmoid")]
    vectors = [
        *(w.vector(f"{p}{n}", sizes=[hidden]) for n in ("k_k", "k_a")),
        w.array(f"{p}r_k", cfg.heads, cfg.head_dim).reshape(-1),
        *(w.vector(f"{p}g_norm.{n}", sizes=[hidden]) for n in ("weight", "bias")),
    ]
    y = layers.g.wkv7(
        columns,
        vectors,
        None if first is None else (first, low_rank("v")),
        heads=cfg.heads,
        head_dim=cfg.head_dim,
        eps=cfg.head_dim * cfg.eps,
    )
    out = layers.linear(y, f"{p}o_proj", rows=hidden, residual=residual, name="time_out")
    return out, v if first is None else first
