"""The processes that compute one model together: this one, rank 0, and those it starts."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from typing import IO, Any

from genfast import _core
from genfast.errors import DeviceError, LoadError

_SECONDS = 300.0  # that a rank may let the others wait: reading weights from a slow disk, say
_END_SECONDS = 5.0  # that a rank has to end by itself
# With this process's import path, and not, as Python has it, the working directory first.
_RANK = """
import sys
sys.path[:] = sys.argv[2:]
from genfast.rank_process import main
main(sys.argv[1])
"""
READY = b"ready\n"  # what a rank writes when it has its weights


class Ranks:
    """Starts ranks 1 to size - 1, which load their parts of a model: rank_process.py.

    model: what these are told, as JSON. They end with this process, however it ends, and are not
    reached by its Ctrl-C. gpus: how many there are, where each rank is to have one; else 0.
    """

    def __init__(self, size: int, model: dict[str, Any], gpus: int = 0) -> None:
        if 0 < gpus < size:
            raise DeviceError(
                f"tensor_parallel={size} with device='cuda' needs as many GPUs; found {gpus}"
            )
        self.size = size
        self.communicator: _core.HostCommunicator | None = None
        self._processes: list[subprocess.Popen] = []
        self._errors: list[IO[bytes]] = []
        memory = os.memfd_create("genfast")
        os.ftruncate(memory, _core.HostCommunicator.shared_bytes(size))
        ours: list[socket.socket] = []
        try:
            for rank in range(1, size):
                here, there = socket.socketpair()
                ours.append(here)
                with there:
                    told = {"rank": rank, "size": size, "memory": memory, "seconds": _SECONDS}
                    environment = _with_gpu(rank, gpus) if gpus else None
                    self._start(told | {"socket": there.fileno()} | model, environment)
        except BaseException:
            os.close(memory)
            for side in ours:
                side.close()
            self.close()
            raise
        sockets = [side.detach() for side in ours]
        self.communicator = _core.HostCommunicator(0, size, memory, sockets, _SECONDS)

    def _start(self, told: dict[str, Any], environment: dict[str, str] | None) -> None:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 (until close)
        self._errors.append(errors)
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-c", _RANK, json.dumps(told), *sys.path],
                pass_fds=(told["memory"], told["socket"]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            )
        )

    def wait_ready(self) -> None:
        """Until all have their weights; LoadError with what one said that has not."""
        for rank, process in enumerate(self._processes, 1):
            assert process.stdout is not None
            if process.stdout.read(len(READY)) != READY:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_END_SECONDS)
                self._errors[rank - 1].seek(0)
                said = self._errors[rank - 1].read()[-2000:].decode(errors="replace").strip()
                raise LoadError(f"rank {rank} could not load its part of the model: {said}")

    def close(self) -> None:
        """Ends them; may be called again."""
        if self.communicator is not None:
            self.communicator.leave()
        for process in self._processes:
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for errors in self._errors:
            errors.close()
        self._processes, self._errors = [], []


def _with_gpu(rank: int, gpus: int) -> dict[str, str]:
    """This process's environment, but for which GPU is the first."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = listed.split(",") if listed else [str(i) for i in range(gpus)]
    return os.environ | {"CUDA_VISIBLE_DEVICES": names[rank]}
