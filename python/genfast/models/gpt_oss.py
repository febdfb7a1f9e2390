"""gpt-oss: experts of a layer in one tensor, or in MXFP4; a sink in every head, sliding layers.

OpenAI, 2025 (arXiv 2508.10925); upstream: transformers' modeling_gpt_oss.py.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from genfast.config import Fields
from genfast.graph import Graph, Tensor
from genfast.models import llama
from genfast.models._layers import Layers, layer_windows
from genfast.weights import Weights

# Of the activation "clamped_silu"; no published model has others.
ALPHA, LIMIT = 1.702, 7.0
YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "original_max_position_embeddings": 4096,
    "truncate": False,
}


@dataclass(frozen=True)
class Config(llama.Config):
    experts: int = 0
    experts_a_token: int = 0

    @classmethod
    def from_json(cls, cfg: Fields) -> Config:
        cfg = cfg.with_defaults(
            hidden_size=2880,
            intermediate_size=2880,
            num_hidden_layers=36,
            num_attention_heads=64,
            num_key_value_heads=8,
            head_dim=64,
            vocab_size=201088,
            max_position_embeddings=131072,
            rms_norm_eps=1e-5,
            rope_theta=150000.0,
            attention_bias=True,
            sliding_window=128,
        )
        if "rope_scaling" not in cfg and "rope_parameters" not in cfg:
            cfg.values["rope_parameters"] = YARN
        for name, only in (("swiglu_alpha", ALPHA), ("swiglu_limit", LIMIT)):
            if cfg.number(name, 0, 1e9, default=only) != only:
                cfg.fail(name, str(only))
        base = llama.Config.from_json(cfg)
        own = {f.name: getattr(base, f.name) for f in fields(llama.Config)}
        usual = [i % 2 == 0 for i in range(base.layers)]
        own |= {"mlp_bias": False, "windows": layer_windows(cfg, base.layers, usual)}
        experts = cfg.int("num_local_experts", 1, 1024, default=128)
        chosen = cfg.int("num_experts_per_tok", 1, experts, default=4)
        return cls(**own, experts=experts, experts_a_token=chosen)


def forward(g: Graph, cfg: Config, w: Weights) -> Tensor:
    """Logits of the output rows, [outputs, V]."""
    return llama.forward(g, cfg, w, feed_forward, attention)


def attention(layers: Layers, cfg: Config, h: Tensor, rotation: Tensor, i: int) -> Tensor:
    sinks = layers.w.vector(f"layers.{i}.self_attn.sinks", sizes=[cfg.heads])
    return llama.attention(layers, cfg, h, rotation, i, sink_logits=sinks)


def feed_forward(layers: Layers, cfg: Config, h: Tensor, i: int, residual: Tensor) -> Tensor:
    g, w, p = layers.g, layers.w, f"layers.{i}.mlp."
    hidden, ffn = cfg.hidden_size, cfg.intermediate_size
    scores = layers.linear(
        h, f"{p}router", rows=cfg.experts, bias=True, quantised=False, name="router"
    )
    routes = g.route(scores, cfg.experts_a_token, scoring="softmax_of_chosen")
    experts = w.expert_stack(f"{p}experts.", cfg.experts, hidden, ffn)
    up = w.array(f"{p}experts.gate_up_proj_bias", cfg.experts, 2 * ffn)
    up = up.reshape(cfg.experts, ffn, 2).swapaxes(1, 2).ravel()  # gates and ups take turns
    down = w.array(f"{p}experts.down_proj_bias", cfg.experts, hidden).ravel()
    return g.moe(
        h, routes, experts, biases=(up, down), activation="clamped_silu", residual=residual
    )
