"""Programs of fixed sizes: inputs, outputs, memory, errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from genfast.images.graph import ImageGraph
from genfast.images.runner import Runner


def test_several_inputs_and_outputs(rng):
    g = ImageGraph()
    a, b = g.input("a", 6, 4), g.image("b", 2, 4, 1, 3)
    total = g.add(a, b)
    g.output("total", total)
    g.output("active", g.activation(total, "relu"))
    g.output("image", g.activation(b, "relu"))
    runner = Runner(g)
    for _ in range(2):  # an input's memory is used for other values, then filled again
        x = rng.normal(size=(6, 4)).astype(np.float32)
        image = rng.normal(size=(2, 4, 1, 3)).astype(np.float32)
        out = runner.run(a=x, b=image)
        expected = x + image.transpose(0, 2, 3, 1).reshape(6, 4)
        assert out["total"].tobytes() == expected.tobytes()
        assert out["active"].tobytes() == np.maximum(expected, 0).tobytes()
        assert out["image"].tobytes() == np.maximum(image, 0).tobytes()


def test_outputs_outlive_the_values_around_them(rng):
    g = ImageGraph()
    x = g.input("x", 8, 16)
    kept = g.activation(x, "silu")
    g.output("kept", kept)
    for _ in range(4):  # each would like its input's memory
        x = g.activation(kept, "relu")
    g.output("last", x)
    given = rng.normal(size=(8, 16)).astype(np.float32)
    out = Runner(g).run(x=given)
    assert out["last"].tobytes() == np.maximum(out["kept"], 0).tobytes()


def test_rope_of_fixed_positions(rng):
    rows, heads, size = 5, 2, 8
    angles = rng.uniform(-30, 30, (rows, size // 2))
    g = ImageGraph()
    x = g.input("x", rows, heads * size)
    table = g.rope_angles(angles)
    g.output("x", g.rope(x, table, heads=heads, head_dim=size, interleaved=True))
    given = rng.normal(size=(rows, heads * size)).astype(np.float32)
    pairs = given.astype(np.float64).view(complex).reshape(rows, heads, size // 2)
    turned = pairs * np.exp(1j * angles)[:, None]
    expected = turned.reshape(rows, -1).view(np.float64)
    np.testing.assert_allclose(Runner(g).run(x=given)["x"], expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"table has shape \[5, 8\], expected \[6, 0\]"):
        g.rope(g.input("y", rows + 1, heads * size), table, heads=heads, head_dim=size)


def test_slots_are_shared():
    g = ImageGraph()
    x = g.input("x", 1000, 100)
    for _ in range(20):
        x = g.concat_rows(g.rows(x, 0, 500), g.rows(x, 500, 500))
    g.output("x", x)
    assert Runner(g).arena_bytes < 5 * 1000 * 100 * 4


def test_intermediates_can_be_read(rng):
    g = ImageGraph()
    with g.scope("block"):
        x = g.activation(g.input("x", 3, 5), "silu", name="first")
        g.output("y", g.add(x, x, name="second"))
    runner = Runner(g, keep_all=True)
    out = runner.run(x=rng.normal(size=(3, 5)))
    first = runner.value("block.first")
    assert (2 * first).tobytes() == out["y"].tobytes()
    assert "block.second = add(block.first, block.first)" in runner.dump()
    with pytest.raises(IndexError, match="no value named 'block\\.third'"):
        runner.value("block.third")


def test_runs_from_several_threads_take_turns(rng):
    g = ImageGraph()
    x = g.input("x", 50, 64)
    y = x
    for _ in range(10):
        y = g.add(y, x)
    g.output("y", y)
    runner, wrong = Runner(g), []

    def work(seed):
        given = np.full((50, 64), seed, np.float32)
        for _ in range(50):
            if not (runner.run(x=given)["y"] == 11 * seed).all():
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_wrong_inputs_are_refused():
    g = ImageGraph()
    g.output("y", g.add(g.input("a", 2, 3), g.input("b", 2, 3)))
    runner = Runner(g)
    a = np.zeros((2, 3))
    with pytest.raises(ValueError, match="inputs lack b"):
        runner.run(a=a)
    with pytest.raises(ValueError, match="unknown input 'c'; there are a, b"):
        runner.run(a=a, b=a, c=a)
    with pytest.raises(ValueError, match="input b must have shape \\[2, 3\\]"):
        runner.run(a=a, b=a.T)


def test_wrong_programs_are_refused():
    g = ImageGraph()
    with pytest.raises(ValueError, match="no output"):
        Runner(g)
    x = g.input("x", 2, 3)
    with pytest.raises(ValueError, match="named x already"):
        g.input("x", 2, 3)
    with pytest.raises(ValueError, match="must have rows and columns"):
        g.input("y", 0, 3)
    with pytest.raises(ValueError, match="must be a computed value"):
        g.output("x", x)
    with pytest.raises(ValueError, match="is no image"):
        g.upsample(x)
    g.output("y", g.activation(x, "relu"))
    tokens = g._append("rope_table", [g.positions, g._constant(np.ones(4, np.float32))], {}, "t")
    assert tokens.shape[0] == "T"
    with pytest.raises(ValueError, match="depends on the tokens of a step"):
        Runner(g)
