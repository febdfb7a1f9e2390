"""A Llama to train: names and arithmetic are those of Hugging Face's LlamaForCausalLM with tied
embeddings."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Llama(nn.Module):
    """`config` holds the fields of a Hugging Face config.json."""

    def __init__(self, config, dropout=0.0):
        super().__init__()
        layers = config["num_hidden_layers"]
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        for name, p in self.named_parameters():
            if p.ndim == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)
        half = config["head_dim"] // 2
        position = torch.arange(config["max_position_embeddings"]).float()
        frequency = config["rope_theta"] ** (-torch.arange(half).float() / half)
        angle = torch.outer(position, frequency)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids, targets):
        """Mean cross-entropy, in nats, of the tokens `targets` [B, T] that follow `ids` [B, T]."""
        x, T = self.embed_tokens(ids), ids.shape[1]
        for layer in self.layers:
            x = layer(x, self.cos[:T], self.sin[:T])
        logits = F.linear(self.norm(x), self.embed_tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class Layer(nn.Module):
    def __init__(self, config, dropout):
        super().__init__()
        self.self_attn, self.mlp, self.drop = Attention(config), MLP(config), nn.Dropout(dropout)
        self.input_layernorm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.post_attention_layernorm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, x, cos, sin):
        x = x + self.drop(self.self_attn(self.input_layernorm(x), cos, sin))
        return x + self.drop(self.mlp(self.post_attention_layernorm(x)))


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        E, self.D = config["hidden_size"], config["head_dim"]
        query, kv = (config[f"num_{k}_heads"] * self.D for k in ("attention", "key_value"))
        # In the order that initial weights are drawn in: another would be another model.
        self.q_proj = nn.Linear(E, query, bias=False)
        self.o_proj = nn.Linear(query, E, bias=False)
        self.k_proj = nn.Linear(E, kv, bias=False)
        self.v_proj = nn.Linear(E, kv, bias=False)

    def forward(self, x, cos, sin):
        B, T, _ = x.shape
        projections = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (p(x).view(B, T, -1, self.D).transpose(1, 2) for p in projections)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(B, T, -1))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        E, hidden = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(E, hidden, bias=False)
        self.up_proj = nn.Linear(E, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, E, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
