"""Processes that do the heavy arithmetic, on this machine or on others, and the limits each of them keeps.

Knows process pools, Dask's executor, memory and time. Must not know what is computed, nor Prefect.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from importlib import import_module
from multiprocessing.connection import wait as wait_for
from types import FrameType
from typing import TypeVar

from biomarkers.errors import AssayError, TemporarilyUnavailableError
from biomarkers.lab.folders import ComputeSettings

Work = TypeVar("Work")
Done = TypeVar("Done")

GRACE_SECONDS = 30.0
"""Compiled code hears of the time limit only when it returns to Python; after these the process is ended."""


def process_count(settings: ComputeSettings) -> int:
    """How many processes compute on this machine."""
    return settings.processes or os.cpu_count() or 1


def executor_of(settings: ComputeSettings) -> Executor:
    """Make the executor that lab.toml names: processes on this machine, or a Dask cluster.

    Raises
    ------
    TemporarilyUnavailableError
        The Dask scheduler does not answer.
    """
    if settings.scheduler:
        return _dask(settings.scheduler)
    return local_pool(settings, process_count(settings))


def local_pool(settings: ComputeSettings, processes: int) -> Executor:
    """Make a pool of processes that import what most files need at once, so that this passes while other things start."""
    context = multiprocessing.get_context("forkserver")
    # Imported once, and there in every process forked from it.
    context.set_forkserver_preload(["flows.plate_work", "flows.door_work"])
    pool = ProcessPoolExecutor(
        processes, mp_context=context, initializer=_begin, initargs=(settings.memory_mb_for_a_process * 1_000_000,)
    )
    for _ in range(processes):
        pool.submit(import_module, "flows.plate_work")
    return pool


def _dask(address: str) -> Executor:
    from distributed import Client  # noqa: PLC0415  - an extra, needed only where a lab names a scheduler

    try:
        client = Client(address, timeout=10, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError) as error:
        raise TemporarilyUnavailableError(
            what="The Dask scheduler does not answer.",
            where=f"lab.toml, [compute] scheduler = '{address}'.",
            remedy="Start it with 'dask scheduler', or empty the setting to compute on this machine; files wait.",
        ) from error
    # Dask answers an equal call from memory unless told otherwise; a file analysed again must be read again.
    executor: Executor = client.get_executor(pure=False)  # type: ignore[no-untyped-call]
    return executor


def end(executor: Executor, *, wait: bool = True) -> None:
    """Let an executor go; what it has not begun is dropped. Dask's has no such word, and drops what its client asked for."""
    if isinstance(executor, ProcessPoolExecutor):
        executor.shutdown(wait=wait, cancel_futures=True)
    else:
        executor.shutdown(wait=wait)


def killed_its_worker(error: Exception) -> bool:
    """Whether Dask gave a computation up because it ended every worker that took it."""
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(error, distributed.KilledWorker)


def guarded(function: Callable[[Work], Done], work: Work, seconds: float) -> Done:
    """Compute within a time limit; runs in the process that computes.

    Raises
    ------
    AssayError
        It took longer, or needed more memory than the process may have.
    """
    timed = (
        threading.current_thread() is threading.main_thread()
    )  # Dask's workers compute in other threads, and limit themselves
    if timed:
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function(work)
    except _OutOfTime as late:
        raise AssayError(
            what="The file took longer than one computation may.",
            where="Setting [compute] seconds_for_a_file in lab.toml.",
            remedy="Check that the file is what it should be; raise the limit if it is.",
        ) from late
    except MemoryError as error:
        raise AssayError(
            what="The file needs more memory than one process may have.",
            where="Setting [compute] memory_mb_for_a_process in lab.toml.",
            remedy="Check that the file is what it should be; raise the limit if it is.",
        ) from error
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_REAL, 0)


class _OutOfTime(BaseException):
    """Ends a computation where it stands; no error of the file's, so that what is done about those does not stop it."""


def _out_of_time(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)
    raise _OutOfTime


def _begin(memory_bytes: int) -> None:
    """Limit a computing process's memory, and let it end with the process that uses it; it would wait for ever otherwise."""
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = memory_bytes if most == resource.RLIM_INFINITY else min(memory_bytes, most)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, most))
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
