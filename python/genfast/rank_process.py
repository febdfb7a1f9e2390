"""A rank other than 0, a process of its own (ranks.py): loads its part and does as it is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from genfast import _core, models
from genfast.checkpoint import Checkpoint
from genfast.config import Fields, read_config
from genfast.ranks import READY
from genfast.recorded import Formats, record
from genfast.shard import Shard


def main(text: str) -> None:
    told = json.loads(text)
    rank, size, threads = told["rank"], told["size"], told["threads"]
    ranks = _core.HostCommunicator(rank, size, told["memory"], [told["socket"]], told["seconds"])
    path = Path(told["path"])
    config = read_config(path)
    module = models.find(config["model_type"])
    hparams = module.Config.from_json(Fields(config, path / "config.json"))
    recorded = record(
        Checkpoint(path),
        module,
        hparams,
        Formats(**told["formats"]),
        threads=threads,
        cache_dir=Path(told["cache_dir"]) if told["cache_dir"] else None,
        shard=Shard(rank, size),
    )
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    _core.follow(recorded.program, recorded.layouts, ranks, threads, told["isa"])
