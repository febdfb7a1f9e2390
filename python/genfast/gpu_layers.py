"""Which layers of a model run on the GPU, the others on the CPU; and the room for keys and values
beside both."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

from genfast import _core
from genfast.errors import DeviceError
from genfast.kv_memory import DEVICE_SHARE, budget_bytes

log = logging.getLogger("genfast")

_WEIGHTS_SHARE = 0.875  # of a GPU's free memory, at most: the rest is for values and pages


class GpuLayers:
    """The first `layers` of a program's layers run on the GPU, with what comes before the first,
    and after the last one all the rest; `instructions`: of the program, how many these are.

    asked: None for as many as fit the `free` bytes of its memory beside their share of
    `kv_cache_bytes`. Raises ValueError for more layers than there are, DeviceError where none fits.
    """

    def __init__(
        self,
        program: _core.Program,
        layouts: Sequence[_core.KvLayout],
        free: int,
        asked: int | None,
        kv_cache_bytes: int | None,
    ) -> None:
        ends = _layer_ends(program.names)
        most = len(ends)
        if asked is not None and asked > most:
            raise ValueError(f"gpu_layers={asked} is not allowed: the model has {most} layers")
        self._free, self._given = free, kv_cache_bytes
        self._pages = [layout.page_bytes for layout in layouts]
        fits = None
        for layers in range(asked or most, 0, -1):
            self.layers, self.instructions = layers, ends[layers - 1]
            self._weights = program.weight_bytes_of(self.instructions)
            kv = (kv_cache_bytes or 0) * self._device_page // max(sum(self._pages), 1)
            fits = self._weights + kv <= free * _WEIGHTS_SHARE
            if fits or asked:
                break
        if not fits and not asked:
            raise DeviceError(
                f"device='cuda': not even one layer of the model fits the GPU, which has {free} "
                f"bytes free and would need {self._weights} for it; use device='cpu'"
            )
        self.all = layers == most
        if not self.all:
            log.info("%d of %d layers on the GPU, with %d free bytes", layers, most, free)

    @property
    def _device_page(self) -> int:
        return sum(self._pages[: self.layers])

    def kv_budgets(self) -> list[tuple[int, int]]:
        """Bytes of a page and of all pages: in all, where kv_cache_bytes says how many, else on
        the GPU and on the CPU."""
        if self._given is not None:
            return [(sum(self._pages), self._given)]
        left = max(self._free - self._weights, 0)
        budgets = [(self._device_page, int(left * DEVICE_SHARE))]
        if not self.all:
            budgets.append((sum(self._pages) - self._device_page, budget_bytes(None)))
        return budgets


def _layer_ends(names: Sequence[str]) -> list[int]:
    """Of the first layer, the first two, ..., and all: how many instructions they take. What
    follows the last layer goes with it."""
    begins: dict[int, int] = {}
    for index, name in enumerate(names):
        if layer := re.match(r"layers\.(\d+)\.", name):
            begins.setdefault(int(layer[1]), index)
    if not begins:
        raise ValueError("gpu_layers: this model has no layers to part; use device='cpu'")
    return [*sorted(begins.values())[1:], len(names)]
