"""Collectives between processes: every rank gets the same bits, and nobody waits for the dead."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rank

from genfast import _core

Processes = list[subprocess.Popen]


@contextmanager
def started(
    does: list[str], *, seconds: float = 60, seed: int = 0
) -> Iterator[tuple[_core.Communicator, Processes]]:
    """Rank 0, and processes that do what `does` says of ranks 1, 2, ..."""
    size = 1 + len(does)
    memory = os.memfd_create("test")
    os.ftruncate(memory, _core.HostCommunicator.shared_bytes(size))
    ours, processes = [], []
    for i, what in enumerate(does, 1):
        here, there = socket.socketpair()
        ours.append(here.detach())
        told = {"rank": i, "size": size, "memory": memory, "socket": there.fileno()}
        told |= {"does": what, "seconds": seconds, "seed": seed}
        command = [sys.executable, str(Path(rank.__file__)), json.dumps(told)]
        fds = (memory, there.fileno())
        processes.append(subprocess.Popen(command, pass_fds=fds, stdout=subprocess.PIPE))
        there.close()
    try:
        yield _core.HostCommunicator(0, size, memory, ours, seconds), processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("others", [1, 2])
def test_every_rank_gets_the_sum_in_the_order_of_ranks(rng, others):
    seed = int(rng.integers(1 << 32))
    with started(["collectives"] * others, seed=seed) as (ranks, processes):
        mine = rank.results(ranks, seed)
        theirs = [process.communicate(timeout=60)[0] for process in processes]
    assert all(found == b"".join(mine) for found in theirs)
    assert mine[0] == b"from 0"
    for i, n in enumerate(rank.SIZES):
        each = [rank.numbers(seed, r, n) for r in range(1 + others)]
        total = each[0].copy()
        for more in each[1:]:
            total += more
        assert mine[1 + 2 * i] == total.tobytes(), n
        assert mine[2 + 2 * i] == np.stack(each).tobytes(), n


def test_a_rank_that_ended_is_told():
    with started(["wait", "end"]) as (ranks, processes):
        ranks.broadcast(b"x")
        assert processes[1].wait(60) == 0
        with pytest.raises(RuntimeError, match=r"rank 2 ended.*load the model again"):
            ranks.all_reduce_sum(np.ones(3, np.float32))
        with pytest.raises(RuntimeError, match="rank 2 ended"):  # and from then on at once
            ranks.broadcast(b"x")
        # Rank 1 has no socket to rank 2, and hears of it from rank 0.
        assert b"rank 2 was lost" in processes[0].communicate(timeout=60)[0]


def test_a_rank_that_hangs_is_given_up():
    with started(["hang"], seconds=0.2) as (ranks, _):
        ranks.broadcast(b"x")
        with pytest.raises(RuntimeError, match="rank 1 does not answer"):
            ranks.all_reduce_sum(np.ones(3, np.float32))


def test_the_others_end_with_rank_0():
    with started(["wait"]) as (ranks, processes):
        ranks.leave()
        with pytest.raises(RuntimeError, match="rank 0 left"):
            ranks.broadcast(b"x")
        told = processes[0].communicate(timeout=60)[0]
        assert b"rank 0 ended" in told or b"rank 0 was lost" in told  # which of both it sees first


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="rank 2 of 2"):
        _core.HostCommunicator(2, 2, -1, [0], 1)
    with pytest.raises(ValueError, match="cannot have 2 sockets"):
        _core.HostCommunicator(1, 2, -1, [0, 1], 1)
    with pytest.raises(RuntimeError, match="the ranks' memory"):
        _core.HostCommunicator(0, 1, -1, [], 1)
