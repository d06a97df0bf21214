"""Where one flow run works: the laboratory, the worker's name, and the processes that compute.

Knows executors and how a fault in one of them is kept from its neighbours. Must not know files, jobs or Prefect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from biomarkers.errors import AssayError, BiomarkersError
from biomarkers.lab.inbox import DroppedFile
from biomarkers.laboratory import Laboratory
from biomarkers.store.jobs import JobState, Reason
from flows.executors import end, executor_of, guarded, killed_its_worker, local_pool, process_count
from flows.work import Specimens

POISON_ATTEMPTS = 3
"""A file that ends the process working on it alone this often is quarantined."""

Work = TypeVar("Work")
Done = TypeVar("Done")

Progress: TypeAlias = Callable[[int, int, str], None]
"""Called with files done, files known, and what was just done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """What became of one file in this sweep."""

    name: str
    assay: str
    state: str
    reason: Reason
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What one sweep did, and faults of our own."""

    files: tuple[FileOutcome, ...]
    faults: tuple[str, ...]

    def count(self, state: JobState) -> int:
        """How many files came to a state."""
        return sum(file.state == state.value for file in self.files)


@dataclass(slots=True, kw_only=True)
class Bench:
    """Where one sweep works: the laboratory, who works, the files it is given, and the processes that compute.

    Attributes
    ----------
    postponed
        Why files could not be taken in for the moment.
    specimens_list
        Number of the study's last list when the specimens were read.
    judged_too_soon
        Files refused for an accession that a list may bring which another process recorded meanwhile.
    """

    laboratory: Laboratory
    owner: str
    progress: Progress
    processes: int
    executor: Executor
    files: tuple[DroppedFile, ...] = ()
    known: int = 0
    specimens: Specimens | None = None
    specimens_list: int = 0
    judged_too_soon: list[DroppedFile] = field(default_factory=list)
    claimed: set[int] = field(default_factory=set)
    outcomes: list[FileOutcome] = field(default_factory=list)
    postponed: list[BiomarkersError] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def seconds_for_a_file(self) -> float:
        """How long one computation may take."""
        return self.laboratory.settings.compute.seconds_for_a_file

    def replace(self, broken: Executor) -> None:
        """Take a fresh pool of processes in place of one whose process died, once."""
        if self.executor is broken:
            end(broken, wait=False)
            self.executor = local_pool(self.laboratory.settings.compute, self.processes)

    def count(self, file: DroppedFile, state: JobState, reason: Reason, *, sha256: str | None = None) -> None:
        """Count what became of a file and tell who watches."""
        self.outcomes.append(FileOutcome(name=file.name, assay=file.kind, state=state.value, reason=reason, sha256=sha256))
        done = len(self.outcomes)
        self.progress(done, max(self.known, done), f"{state.value} {file.name}")


_BENCH: ContextVar[Bench] = ContextVar("bench")


def bench() -> Bench:
    """Return the bench of the flow that runs; tasks exchange ids and records, and find the rest here."""
    return _BENCH.get()


@contextmanager
def at_bench(laboratory: Laboratory, progress: Progress, *, executor: Executor | None = None) -> Iterator[Bench]:
    """Set up a bench for one flow run, and clear it away.

    Without an ``executor`` the one that lab.toml names is made for this run alone; a service that sweeps again and again hands
    in its own, which stays.
    """
    processes = process_count(laboratory.settings.compute)
    own = executor or executor_of(laboratory.settings.compute)
    made = Bench(laboratory=laboratory, owner=owner_name(), progress=progress, processes=processes, executor=own)
    token = _BENCH.set(made)
    try:
        yield made
    finally:
        _BENCH.reset(token)
        if executor is None or made.executor is not executor:
            end(made.executor)


def owner_name() -> str:
    """Name this worker so that others can tell whether it still lives: host, process, and when the process began."""
    pid = os.getpid()
    return f"{socket.gethostname()}/{pid}/{_began(pid)}"


def is_dead(owner: str) -> bool:
    """Whether an owner is known to be no more; of another host's processes nothing is known, their lease decides."""
    host, _, rest = owner.partition("/")
    pid, _, began = rest.partition("/")
    return host == socket.gethostname() and pid.isdigit() and _began(int(pid)) != began


def _began(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


class FileKillsProcessError(AssayError):
    """A file ended every process that worked on it alone."""


class ProgramFaultError(AssayError):
    """The program failed on a file by its own fault; the file waits, and is tried again."""


async def attempt(function: Callable[[Work], Done], work: Work) -> Done | BiomarkersError:
    """Compute one thing in the executor; a fault is returned, so that the files around it go through.

    Raises
    ------
    TemporarilyUnavailableError
        What may pass by itself; the stage is tried again.
    """
    try:
        return await _computed(function, work)
    except BiomarkersError as error:
        if error.is_transient:
            raise
        return error
    except Exception as error:  # noqa: BLE001  - the border around a whole file: what is not ours is told, and fails the run
        if killed_its_worker(error):
            return _kills_processes()
        told = "".join(traceback.format_exception(error))
        bench().faults.append(told)
        return ProgramFaultError(
            what=f"The program failed by its own fault: {type(error).__name__}: {error}.",
            where="The file itself may be sound.",
            remedy="Report it with what 'biomarkers ingest' printed; the file waits and is tried again.",
        )


async def _computed(function: Callable[[Work], Done], work: Work) -> Done:
    at = bench()
    executor = at.executor
    with contextlib.suppress(BrokenProcessPool):
        return await asyncio.wrap_future(executor.submit(guarded, function, work, at.seconds_for_a_file))
    # A process died, perhaps of another file: this one is computed again alone, so that only the guilty file is blamed.
    async with at.alone:
        at.replace(executor)
        for _ in range(POISON_ATTEMPTS):
            pool = local_pool(at.laboratory.settings.compute, 1)
            try:
                return await asyncio.wrap_future(pool.submit(guarded, function, work, at.seconds_for_a_file))
            except BrokenProcessPool:
                continue
            finally:
                end(pool, wait=False)
    raise _kills_processes()


def _kills_processes() -> FileKillsProcessError:
    return FileKillsProcessError(
        what=f"The file ended the process that worked on it, {POISON_ATTEMPTS} times.",
        where="It was worked on alone.",
        remedy="Check it with the instrument's software; report it if it is sound.",
    )


async def each(function: Callable[[Work], Done], works: Sequence[Work]) -> AsyncIterator[tuple[int, Done | BiomarkersError]]:
    """Compute many things in the executor; gives number and outcome in the order given, so that recording has an order."""
    tasks = [asyncio.create_task(attempt(function, work)) for work in works]
    try:
        for number, task in enumerate(tasks):
            yield number, await task
    finally:
        for task in tasks:
            task.cancel()
