"""`genfast info`: sizes that follow by hand."""

from __future__ import annotations

import json

import pytest

import genfast
from genfast.cli import main

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(LLAMA))
    return path


def test_info_counts_a_published_model(config, capsys):
    """TinyLlama: 1,100,048,384 parameters; every size follows by hand."""
    assert main(["info", "--config", str(config), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == 1_100_048_384
    assert facts["layers"] == 22 and facts["context"] == 2048
    per_token = facts["kv_bytes_per_token"]
    assert per_token["float32"] == 22 * 2 * 4 * 64 * 4 == 2 * per_token["bfloat16"]
    assert per_token["int8"] == 22 * 2 * 4 * (64 + 4)
    memory = facts["memory"]
    table, head = 32000 * 2048, 32000 * 2048
    norms = (22 * 2 + 1) * 2048
    matrices = facts["parameters"] - table - head - norms
    assert memory["float32"]["weights_bytes"] == 4 * facts["parameters"]
    assert memory["bfloat16"]["weights_bytes"] == 2 * (facts["parameters"] - norms) + 4 * norms
    # int4: 18 bytes for 32 weights of a row; the logits' matrix is int8 with 8 bytes a row.
    int4 = matrices // 32 * 18 + (head + 8 * 32000) + 2 * table + 4 * norms
    assert memory["int4"]["weights_bytes"] == int4
    assert memory["bfloat16"]["kv_bytes"] == 2048 * per_token["bfloat16"]


def test_info_for_people(config, capsys):
    (config.parent / "model.safetensors").write_bytes(bytes(1000))
    assert main(["info", str(config.parent), "--context", "512"]) == 0
    out = capsys.readouterr().out
    assert "LlamaForCausalLM" in out and "1.1 billion" in out and "bfloat16" in out
    assert "KV cache of 512 tokens" in out and "1e+03" not in out
    assert genfast.cpu_info()["isa"] in out


def test_info_of_what_is_not_there(tmp_path, capsys):
    assert main(["info", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert main(["info", "--config", str(tmp_path / "no.json"), "--json"]) == 1
    (tmp_path / "config.json").write_text('{"model_type": "no_such_model"}')
    assert main(["info", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "no_such_model" in err and "llama" in err and "Traceback" not in err
