"""How many layers a GPU of some size takes."""

from __future__ import annotations

import pytest

import genfast
from genfast import _core
from genfast.gpu_layers import GpuLayers

LAYOUTS = [_core.KvLayout("float32", 1, 32)] * 3


class Program:
    """Three layers, with 100, 200 and 350 bytes of weights up to the end of each."""

    def __init__(self) -> None:
        of_layers = (f"layers.{i}.{op}" for i in range(3) for op in ("qkv", "out"))
        self.names = ["embed", *of_layers, "logits"]

    def weight_bytes_of(self, instructions: int) -> int:
        return 50 * (instructions - 1)


@pytest.mark.parametrize(
    ("free", "given", "layers"),
    [(1000, None, 3), (300, None, 2), (310, 96, 2), (250, 96, 1), (10**6, 96, 3)],
)
def test_as_many_layers_as_fit(free, given, layers):
    placed = GpuLayers(Program(), LAYOUTS, free, None, given)
    assert (placed.layers, placed.all) == (layers, layers == 3)
    page = LAYOUTS[0].page_bytes
    sizes = [size for size, _ in placed.kv_budgets()]
    if given:
        assert placed.kv_budgets() == [(3 * page, given)]
    elif layers == 3:
        assert sizes == [3 * page]
    else:
        assert sizes == [layers * page, (3 - layers) * page]


def test_what_was_asked_for_is_not_weighed():
    assert GpuLayers(Program(), LAYOUTS, 1, 2, None).instructions == 5


def test_no_layer_fits():
    with pytest.raises(genfast.DeviceError, match="90 bytes free and would need 100"):
        GpuLayers(Program(), LAYOUTS, 90, None, None)


def test_a_program_without_layers():
    program = Program()
    program.names = ["embed", "logits"]
    with pytest.raises(ValueError, match="no layers"):
        GpuLayers(program, LAYOUTS, 1000, None, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda", "gpu_layers": 0}, "gpu_layers=0 is not allowed"),
        ({"device": "cpu", "gpu_layers": 1}, "gpu_layers=1 needs device='cuda'"),
    ],
)
def test_gpu_layers_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        genfast.load(**options)
