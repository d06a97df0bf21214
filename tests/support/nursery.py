"""Sweeps in forked children of a process that has imported everything, struck by a fault at a chosen moment or left in peace.

A child runs the composition a sweep is, unobserved by Prefect. It is killed, or what it asks of the operating system fails, at
one of the moments when it opens, renames, removes or makes something in the laboratory.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from biomarkers.laboratory import open_lab
from biomarkers.store import database

P = ParamSpec("P")
R = TypeVar("R")

WATCHED = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.scandir", "os.listdir", "shutil.copyfile"}
"""Python's audit events at which a fault can strike: what a sweep asks of the file system."""

FAULTS = ("killed", "disk full", "read error", "share gone", "database locked", "database full")


class SameProcess(Executor):
    """Computes at once, in the process that asks: a child that is killed takes nothing else with it."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        done: Future[R] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  - an executor hands every error on
            done.set_exception(error)
        return done


def silent(_done: int, _known: int, _text: str) -> None:
    pass


def sweep(root: Path) -> None:
    from flows.bench import at_bench  # noqa: PLC0415  - Prefect is imported in the children alone, and reads its settings there
    from flows.settings import without_prefect  # noqa: PLC0415
    from flows.sweep import run_sweep  # noqa: PLC0415

    with open_lab(root) as laboratory, without_prefect(), at_bench(laboratory, silent, executor=SameProcess()) as bench:
        run_sweep(bench, laboratory.dropped_files())


@dataclass(frozen=True, kw_only=True)
class Strike:
    """A fault, and the moment when it strikes, counted from the beginning of the sweep."""

    fault: str
    moment: int


def in_child(root: Path, strike: Strike | None, counter: Path | None = None, *, is_patient: bool = False) -> int:
    """Sweep in a forked child; return how it ended: 0 well, 1 with an error, or the signal's number, negative.

    A child that is patient waits for a database that another holds, as a laboratory's own processes do.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with (root / "child.log").open("a") as log:
                os.dup2(log.fileno(), 2)
                os.dup2(log.fileno(), 1)
            if not is_patient:
                database.BUSY_SECONDS = 0  # type: ignore[misc]  - a writer that is locked out gives up at once
            if strike is not None:
                arm(root, strike, counter)
            sweep(root)
            for call in AT_EXIT:
                call()
            code = 0
        except BaseException:  # noqa: BLE001  - a child must never return into what forked it
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class Nursery:
    """A process that has imported everything and forks a child for each sweep; importing costs far more than sweeping."""

    def __init__(self, *, host: str = "") -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def sweep(self, root: Path, strike: Strike | None = None, *, counter: Path | None = None, is_patient: bool = False) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = [
            str(root),
            None if strike is None else [strike.fault, strike.moment],
            None if counter is None else str(counter),
            is_patient,
        ]
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


def nursery() -> None:
    """Serve orders until there are no more."""
    import flows.sweep  # noqa: PLC0415  - what every child needs
    from biomarkers.cytometry import analysis  # noqa: PLC0415  - as above
    from biomarkers.elisa import analysis as plates  # noqa: PLC0415  - as above

    assert all((flows.sweep, analysis, plates))
    host = sys.argv[1]
    if host:
        socket.gethostname = lambda: host  # another machine, as far as its processes can tell
    for line in sys.stdin:
        root, strike, counter, is_patient = json.loads(line)
        found = None if strike is None else Strike(fault=strike[0], moment=strike[1])
        code = in_child(Path(root), found, None if counter is None else Path(counter), is_patient=is_patient)
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


def arm(root: Path, strike: Strike, counter: Path | None) -> None:
    """Let the fault strike at its moment; a moment of 0 never comes, and the moments are counted."""
    count = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if event not in WATCHED or not args or str(root) not in str(args[0]):
            return
        count += 1
        if count == strike.moment:
            strike_now(root, strike.fault, event, str(args[0]))

    sys.addaudithook(hook)
    if counter is not None:
        atexit_of_child(lambda: counter.write_text(str(count)))


AT_EXIT: list[Callable[[], object]] = []


def atexit_of_child(call: Callable[[], object]) -> None:
    """Remember what a child does when its sweep has ended; it leaves without Python's own farewell."""
    AT_EXIT.append(call)


def strike_now(root: Path, fault: str, event: str, path: str) -> None:
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "disk full" and event in {"open", "os.rename", "os.mkdir", "shutil.copyfile"}:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    if fault == "read error" and event in {"open", "shutil.copyfile"}:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)
    if fault == "share gone" and "/inbox/" in path:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
    if fault == "database full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = (root / "lab.db").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


if __name__ == "__main__":
    nursery()
