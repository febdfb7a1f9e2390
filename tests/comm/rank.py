"""A rank of the communicator's tests: a process that calls the same collectives as they do."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from genfast import _core

SIZES = (1, 7, 64 * 1024, 64 * 1024 + 3, 200_001)  # below, at and above a chunk


def numbers(seed: int, rank: int, n: int) -> np.ndarray:
    """Of very different magnitudes, so that the order of a sum shows."""
    rng = np.random.default_rng([seed, rank, n])
    return (rng.standard_normal(n) * 10.0 ** rng.integers(-6, 7, n)).astype(np.float32)


def results(ranks: _core.Communicator, seed: int) -> list[bytes]:
    """What this rank gets of each collective."""
    told = ranks.broadcast(b"from 0" if ranks.rank == 0 else bytes(6))
    found = [told]
    for n in SIZES:
        mine = numbers(seed, ranks.rank, n)
        found.append(ranks.all_reduce_sum(mine).tobytes())
        found.append(ranks.all_gather(mine).tobytes())
    return found


def main(told: dict) -> None:
    ranks = _core.HostCommunicator(
        told["rank"], told["size"], told["memory"], [told["socket"]], told["seconds"]
    )
    if told["does"] == "collectives":
        sys.stdout.buffer.write(b"".join(results(ranks, told["seed"])))
        return
    try:
        ranks.broadcast(bytes(1))
        if told["does"] == "end":
            return
        if told["does"] == "hang":
            time.sleep(600)
        ranks.all_reduce_sum(np.ones(3, np.float32))
    except RuntimeError as error:  # of either: a slow rank hears of a loss in its broadcast
        print(error)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
