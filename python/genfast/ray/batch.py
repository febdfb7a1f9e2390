"""A batch over Ray Data: actors, each with a model of its own, take blocks of rows.

A machine that dies takes with it what its actors had not handed over; Ray gives that to others.
Rows have the same results wherever they run, and whoever writes them writes each once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import ray
import ray.data

from genfast import batch
from genfast.batch import Row

_BLOCK = 16  # rows handed over together: what a machine that dies may have to do again


def answers(
    load: Mapping[str, Any],
    rows: Iterable[Row],
    options: Mapping[str, Any],
    *,
    address: str | None = None,
    replicas: int = 1,
    cpus: float = 1,
) -> Iterator[dict[str, Any]]:
    """Results in the order in which they are ready.

    load: keywords of `genfast.load`; a directory must be there on every machine. options: see
    `genfast.batch.answer`. address: of the cluster; None: $RAY_ADDRESS, else this machine; one that
    this process is connected to already is used. replicas: models, each on `cpus` processors.
    """
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    table = [{"row": json.dumps(dataclasses.asdict(row))} for row in rows]
    count = max(replicas, -(-len(table) // _BLOCK))
    made = ray.data.from_items(table, override_num_blocks=min(len(table), count)).map_batches(
        _Answering,
        fn_constructor_args=(dict(load), dict(options)),
        batch_size=_BLOCK,
        compute=ray.data.ActorPoolStrategy(size=replicas),
        num_cpus=cpus,
    )
    for item in made.iter_rows():
        yield json.loads(item["result"])


class _Answering:
    """An actor: a model, and what it answers."""

    def __init__(self, load: dict[str, Any], options: dict[str, Any]) -> None:
        import genfast

        self._model = genfast.load(**load, progress=False)
        self._options = options

    def __call__(self, table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rows = [Row(**json.loads(text)) for text in table["row"]]
        made = batch.answers(self._model, rows, self._options)
        return {"result": np.array([json.dumps(result) for result in made], dtype=object)}
