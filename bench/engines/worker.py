"""An engine in a process of its own: two OpenMP runtimes in one process fight."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engines import ENGINES, Origin


class Worker:
    """An engine in a process of its own; its exceptions arrive here with their traceback."""

    def __init__(
        self,
        name: str,
        model: Path,
        fmt: str,
        threads: int,
        work: Path,
        engines: dict[str, Origin] = ENGINES,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.name = name
        self._process = context.Process(
            target=_serve, args=(theirs, engines[name], model, fmt, threads, work), daemon=True
        )
        self._process.start()
        theirs.close()
        self._answer()

    def __call__(self, method: str, *args: Any) -> Any:
        self._pipe.send((method, args))
        return self._answer()

    def _answer(self) -> Any:
        try:
            ok, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"{self.name} died, exit {self._process.exitcode}") from None
        if not ok:
            raise RuntimeError(f"{self.name}:\n{value}")
        return value

    def close(self) -> None:
        self._pipe.close()  # its loop ends
        self._process.join(30)
        if self._process.is_alive():
            self._process.kill()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _serve(pipe, origin: Origin, *options: Any) -> None:
    try:
        engine = origin.engine()(*options)
        pipe.send((True, None))
    except Exception:
        pipe.send((False, traceback.format_exc()))
        return
    while True:
        try:
            method, args = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            break
        try:
            pipe.send((True, getattr(engine, method)(*args)))
        except Exception:
            pipe.send((False, traceback.format_exc()))
    engine.close()


def in_another_process(call: Callable[..., None], *args: Any) -> None:
    """Its memory, several times the weights, goes with it."""
    process = multiprocessing.get_context("spawn").Process(target=call, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{call.__name__} failed, exit {process.exitcode}")


def installed(
    names: list[str], engines: dict[str, Origin] = ENGINES
) -> tuple[list[str], dict[str, str]]:
    """Those of the engines that can be imported, and what to do about the others."""
    there, missing = [], {}
    for name in names:
        engine = engines[name]
        if all(find_spec(module) for module in engine.modules):
            there.append(name)
        else:
            missing[name] = f"not installed ({engine.install})"
    return there, missing
