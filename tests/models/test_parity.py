"""Fresh random configs against transformers itself, run live: pytest -m parity, with the extra."""

from __future__ import annotations

import numpy as np
import pytest

import golden_checks
import tolerance
from golden_cases import BASE_GPT2, BASE_LLAMA, Case

pytestmark = pytest.mark.parity
ROUNDS = 12


def pick(rng: np.random.Generator, *choices: object) -> object:
    return choices[rng.integers(len(choices))]


def random_rope(rng: np.random.Generator, context: int) -> dict:
    """Any scaling whose answer does not depend on how the tokens are fed (so not dynamic)."""
    kind = pick(rng, "default", "linear", "yarn", "llama3")
    theta = float(rng.uniform(100, 100_000))
    scaling = {"rope_type": kind}
    if kind != "default":
        scaling["factor"] = float(rng.uniform(1.5, 8))
    if kind in ("yarn", "llama3"):
        scaling["original_max_position_embeddings"] = int(rng.integers(8, context))
    if kind == "yarn":
        scaling |= {"beta_fast": float(rng.uniform(4, 32)), "beta_slow": float(rng.uniform(0.1, 2))}
        scaling["truncate"] = bool(rng.integers(2))
        if rng.random() < 0.5:
            scaling["attention_factor"] = float(rng.uniform(0.8, 1.4))
    if kind == "llama3":
        low = float(rng.uniform(0.5, 2))
        scaling |= {"low_freq_factor": low, "high_freq_factor": low + float(rng.uniform(0.5, 4))}
    if rng.random() < 0.5:
        return {"rope_theta": theta, "rope_scaling": scaling}
    return {"rope_parameters": {"rope_theta": theta, **scaling}}


def random_llama(rng: np.random.Generator) -> dict:
    kv_heads, group = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    heads, head_dim = kv_heads * group, 2 * int(rng.integers(3, 17))
    own_head_dim = bool(rng.integers(2))
    hidden = heads * (2 * int(rng.integers(3, 9)) if own_head_dim else head_dim)
    base = {k: v for k, v in BASE_LLAMA.items() if k != "rope_theta"}
    return {
        **base,
        "hidden_size": hidden,
        "intermediate_size": int(rng.integers(5, 100)),
        "num_hidden_layers": int(rng.integers(1, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        **({"head_dim": head_dim} if own_head_dim else {}),
        "vocab_size": int(rng.integers(9, 200)),
        "rms_norm_eps": float(10 ** rng.uniform(-7, -3)),
        "tie_word_embeddings": bool(rng.integers(2)),
        "attention_bias": bool(rng.integers(2)),
        "mlp_bias": bool(rng.integers(2)),
        **random_rope(rng, base["max_position_embeddings"]),
    }


def random_gpt2(rng: np.random.Generator) -> dict:
    heads = int(rng.integers(1, 6))
    return {
        **BASE_GPT2,
        "n_head": heads,
        "n_embd": heads * int(rng.integers(3, 17)),
        "n_layer": int(rng.integers(1, 4)),
        "n_inner": pick(rng, None, int(rng.integers(5, 100))),
        "vocab_size": int(rng.integers(9, 200)),
        "layer_norm_epsilon": float(10 ** rng.uniform(-7, -3)),
        "activation_function": pick(rng, "gelu_new", "gelu", "relu"),
        "tie_word_embeddings": bool(rng.integers(2)),
        "scale_attn_weights": bool(rng.integers(2)),
        "scale_attn_by_inverse_layer_idx": bool(rng.integers(2)),
    }


@pytest.mark.parametrize("draw", [random_llama, random_gpt2])
def test_random_configs(draw, rng, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    for i in range(ROUNDS):
        config = draw(rng)
        dtype = pick(rng, "F32", "F32", "BF16", "F16")
        shards = int(rng.integers(1, 4))
        case = Case(f"parity-{i}", config, int(rng.integers(1 << 30)), dtype, shards)
        ids = rng.integers(0, config["vocab_size"], int(rng.integers(1, 60)))
        with golden_checks.opened(case, tmp_path / str(i)) as model:
            got = model.logits(ids.tolist())
        theirs = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path / str(i), dtype=torch.float32, attn_implementation="eager"
        ).eval()
        with torch.no_grad():
            expected = theirs(torch.tensor(ids[None])).logits[0].numpy()
        apart = tolerance.relative_distance(got, expected).max()
        print(f"{case.name}: {apart:.1e} {config}")
        assert apart <= 1e-4, config
