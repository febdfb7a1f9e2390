"""The probes do the work they claim: they read every word and run every round."""

import numpy as np
import pytest

import genfast
from genfast import _core, machine

ISAS = genfast.cpu_info()["isas"]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_read_sums_every_word_once(rng, isa, threads):
    data = rng.integers(0, 1 << 31, 256 * 37, dtype=np.int32)
    _, words, results = _core.ops.probe("read", data, isa=isa, threads=threads)
    assert len(results) == threads
    assert words == data.size
    assert sum(int(r) for r in results) % 2**32 == int(data.astype(np.int64).sum()) % 2**32


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", ["fma_f32", "dot_bf16", "dot_int8"])
def test_peaks_count_their_operations(isa, kind):
    data = np.zeros(256, np.int32)
    once = _core.ops.probe(kind, data, 100, isa=isa, threads=1)
    twice = _core.ops.probe(kind, data, 200, isa=isa, threads=2)
    assert twice[1] == 4 * once[1] > 0
    if kind == "dot_int8" and isa != "ref":
        assert twice[2][0] == 2 * once[2][0] > 0  # sums of ones


@pytest.mark.parametrize("isa", ISAS)
def test_barriers_are_counted(isa):
    data = np.zeros(256, np.int32)
    assert _core.ops.probe("barrier", data, 100, isa=isa, threads=3)[1] == 300


def test_bad_arguments():
    data = np.zeros(256, np.int32)
    with pytest.raises(ValueError, match="kind"):
        _core.ops.probe("nothing", data)
    with pytest.raises(ValueError, match="1024"):
        _core.ops.probe("read", data[:3])


def test_measure_names_the_ceilings(monkeypatch):
    monkeypatch.setattr(machine, "_BUFFER_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "_ROUNDS", 1000)
    ceilings = machine.measure()
    assert set(ceilings) == {"read_gb_s", "fp32_gflops", "bf16_gflops", "int8_gops"}
    assert all(value > 0 for value in ceilings.values())
